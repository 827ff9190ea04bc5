/**
 * During a rolling upgrade, persisters of two versions write the events of a sale. Whichever writes or repeats one, the
 * history has it once.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { FILE } from '../../harness/use.ts';
import { parseEvent } from '../../src/domain/reservation-codec.ts';
import type { StreamEvent } from '../../src/persister/stream/entries.ts';
import { writeBatch } from '../../src/persister/write/write-batch.ts';
import { digestOf } from '../../src/postgres/archive-digest.ts';
import { copyAsPrevious, writeAsPrevious } from './previous-writer.ts';

const { servers } = await useServers(FILE);
const { sql } = servers;

const NOW = Date.UTC(2026, 10, 20, 10, 0, 0, 123);

/** Three new reservations, the last one from the waitlist, and what became of two of them. */
function eventsOf(saleId: string): StreamEvent[] {
  const lines: [version: number, status: string, position: number, key: string, detail: string][] =
    [
      [1, 'R', 1, '', ''],
      [1, 'R', 2, 'cart', ''],
      [2, 'C', 1, '', 'paid'],
      [1, 'R', 3, 'waitlist 000000000001', 'waitlist'],
      [2, 'P', 2, 'cart', 'extended'],
      [3, 'X', 2, 'cart', 'returned'],
    ];
  return lines.map(([version, status, position, key, detail], index) => {
    const at = NOW + (version - 1) * 1_000;
    const line = `${version}\t${status}\t${position}\tabcdefgh\tunit*1\t1000\t${NOW}\t${NOW + 300_000}\t${key}\tbuyer-${position}\t${at}\t${detail}\tr-${index}\t`;
    const reservation = parseEvent(line, { saleId, currency: 'EUR' });
    return { entryId: '1-0', number: index + 1, line: () => line, reservation };
  });
}

type Writer = (saleId: string, events: StreamEvent[]) => Promise<unknown>;

const previous: Writer = (saleId, events) => writeAsPrevious(sql, saleId, events);
const present: Writer = async (saleId, events) => {
  const guard = { lock: 'take', timeline: 0, isCurrent: () => true } as const;
  assert.equal(await writeBatch(sql, saleId, events, guard, 'upsert'), 'written');
};
const copying: Writer = async (saleId, events) => {
  const guard = { lock: 'take', timeline: 0, isCurrent: () => true } as const;
  assert.equal(await writeBatch(sql, saleId, events, guard, 'copy'), 'written');
};

/** All that is stored, without the name of the sale. */
async function stored(saleId: string) {
  const rows = await sql<{ row: string }[]>`
    SELECT (to_jsonb(r) - 'persisted_at' - 'first_event')::text AS row FROM reservations r
    WHERE sale_id = ${saleId} ORDER BY position`;
  const history = await sql<{ row: string }[]>`
    SELECT to_jsonb(e)::text AS row FROM reservation_history e WHERE sale_id = ${saleId} ORDER BY event, version`;
  const texts = [...rows, ...history].map(({ row }) => row.replaceAll(saleId, 'sale'));
  return { rows: texts.slice(0, rows.length), history: texts.slice(rows.length) };
}

async function writtenBy(...writers: [Writer, from: number, to: number][]) {
  const { saleId } = await makeSale(servers);
  const events = eventsOf(saleId);
  for (const [writer, from, to] of writers) await writer(saleId, events.slice(from - 1, to));
  return stored(saleId);
}

test('rows and history are the same, whichever version writes which part of a sale', async () => {
  const expected = await writtenBy([previous, 1, 6]);
  assert.equal(expected.history.length, 6);
  for (let cut = 1; cut < 6; cut += 1) {
    for (const writer of [present, copying]) {
      const newer = await writtenBy([previous, 1, cut], [writer, cut + 1, 6]);
      assert.deepEqual(newer, expected, `upgraded after event ${cut}`);
      const older = await writtenBy([writer, 1, cut], [previous, cut + 1, 6]);
      assert.deepEqual(older, expected, `an older persister continued after event ${cut}`);
    }
  }
});

test('a batch of one version that the other repeats adds nothing', async () => {
  const expected = await writtenBy([previous, 1, 6]);
  for (const [first, second] of [
    [previous, present],
    [present, previous],
    [copying, previous],
    [previous, copying],
  ] as const) {
    assert.deepEqual(await writtenBy([first, 1, 6], [second, 1, 6]), expected);
    assert.deepEqual(await writtenBy([first, 1, 4], [second, 2, 6], [first, 1, 6]), expected);
  }
});

test('an older persister enqueues no message for an event that a newer one has written', async () => {
  const { saleId } = await makeSale(servers);
  const events = eventsOf(saleId);
  await present(saleId, events.slice(0, 4));
  assert.deepEqual(await writeAsPrevious(sql, saleId, events), [5, 6]);
});

test('an older persister cannot give a reservation another first event', async () => {
  const { saleId } = await makeSale(servers);
  const events = eventsOf(saleId);
  await present(saleId, events);
  await assert.rejects(writeAsPrevious(sql, saleId, [{ ...events[0]!, number: 7 }]), {
    code: '23505',
  });
});

test('the COPY of an older persister writes what it always did', async () => {
  const { saleId } = await makeSale(servers);
  const events = eventsOf(saleId).filter(({ reservation }) => reservation.version === 1);
  await copyAsPrevious(sql, events);
  const expected = await stored(saleId);
  assert.equal(expected.history.length, 3);
  const again = await makeSale(servers);
  await present(again.saleId, eventsOf(again.saleId));
  const { history } = await stored(again.saleId);
  assert.deepEqual(
    expected.history,
    history.filter((row) => row.includes('"version": 1')),
  );
});

test('the digest of an archive does not depend on where its first events are', async () => {
  const { saleId } = await makeSale(servers);
  await present(saleId, eventsOf(saleId));
  const before = await digestOf(sql, saleId);
  await sql`DELETE FROM reservations WHERE sale_id = ${saleId}`;
  await sql`DELETE FROM reservation_events WHERE sale_id = ${saleId}`;
  await previous(saleId, eventsOf(saleId));
  assert.equal(await digestOf(sql, saleId), before);
});
