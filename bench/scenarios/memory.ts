/**
 * Redis memory per reservation for the duration of a sale: a million reservations by the real script, with the events
 * read, acknowledged and trimmed as by the persister. One round, because memory has no noise.
 */
import { nanoid } from 'nanoid';
import { type ReserveRequest, reserve } from '../../src/lua/buy/reserve.ts';
import { PERSISTER_GROUP, saleKey } from '../../src/lua/keys.ts';
import { ensureGroup } from '../../src/lua/stream/ensure-group.ts';
import { trimEvents } from '../../src/lua/stream/trim-events.ts';
import { ENGINE } from '../measure/contestants.ts';
import type { Round } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openTestbed, type Testbed } from '../measure/testbed.ts';

const RESERVATIONS = 1_000_000;
const BATCH_SIZE = 128;
/** Batches between two trims. */
const BATCHES_PER_TRIM = 100;
/** As nanoid and most shops generate them. */
const KEY_CHARACTERS = 21;
const WITH_KEY = 'engine, with a key of 21 characters';

export const memory: Scenario = {
  name: 'memory',
  title: 'Redis memory at a million reservations',
  async run(options) {
    const testbed = await openTestbed({ durability: 'fast', stopping: options.stopping });
    try {
      const round: Round = {};
      for (const name of [ENGINE, WITH_KEY]) {
        options.report(name);
        round[name] = { bytesEach: await bytesEach(testbed, name === WITH_KEY) };
      }
      const bytes = { metric: 'bytesEach', unit: 'bytes' };
      return {
        settings: { reservations: RESERVATIONS, buyerIdCharacters: 14 },
        rounds: [round],
        comparisons: [
          { what: 'a reservation without an Idempotency-Key', ...bytes, of: ENGINE, atMost: 90 },
          {
            what: 'a reservation with a key of 21 characters',
            ...bytes,
            of: WITH_KEY,
            atMost: 115,
          },
        ],
      };
    } finally {
      await testbed.close();
    }
  },
};

async function bytesEach(testbed: Testbed, withKey: boolean): Promise<number> {
  const { shards } = testbed.servers;
  const saleId = await testbed.openSale({ stock: RESERVATIONS });
  await shards.call(ensureGroup, saleId);
  const before = await usedMemory(testbed);
  for (let sold = 0, batches = 1; sold < RESERVATIONS; batches++) {
    const requests = Array.from(
      { length: Math.min(BATCH_SIZE, RESERVATIONS - sold) },
      (_, index): ReserveRequest => ({
        buyerId: `buyer-${String(sold + index).padStart(8, '0')}`,
        idempotencyKey: withKey ? nanoid(KEY_CHARACTERS) : '',
        items: 'unit*1',
        requestId: nanoid(),
        traceparent: '',
      }),
    );
    const batch = { tag: nanoid(8).replaceAll(/\W|_/g, 'x'), backlogMax: RESERVATIONS, requests };
    const outcomes = await shards.call(reserve, saleId, batch);
    expect(
      outcomes.every(({ outcome }) => outcome === 'reserved'),
      'a purchase was not served',
    );
    sold += requests.length;
    if (batches % BATCHES_PER_TRIM === 0 || sold === RESERVATIONS) await drain(testbed, saleId);
    testbed.stopping.throwIfAborted();
  }
  const { client } = shards.of(saleId);
  const left = await client.xlen(saleKey(saleId, 'events'));
  expect(left === 0, `${left} entries are left in the stream`);
  const used = (await usedMemory(testbed)) - before;
  await testbed.removeSale(saleId);
  return used / RESERVATIONS;
}

/** As if PostgreSQL had committed every event. */
async function drain({ servers: { shards } }: Testbed, saleId: string): Promise<void> {
  const { client } = shards.of(saleId);
  const key = saleKey(saleId, 'events');
  const read = (await client.xreadgroup(
    'GROUP',
    PERSISTER_GROUP,
    'bench',
    'COUNT',
    BATCHES_PER_TRIM,
    'STREAMS',
    key,
    '>',
  )) as [key: string, entries: [id: string, fields: string[]][]][] | null;
  const ids = read?.[0]?.[1].map(([id]) => id) ?? [];
  if (ids.length > 0) await client.xack(key, PERSISTER_GROUP, ...ids);
  await shards.call(trimEvents, saleId);
}

async function usedMemory({ servers: { shards } }: Testbed): Promise<number> {
  const info = await shards.of('any').client.info('memory');
  return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
}
