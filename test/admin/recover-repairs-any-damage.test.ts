/**
 * Whatever is damaged of a sale in Redis, a requested recovery ends: it rebuilds the sale, or says what an operator must
 * decide. Until then, a sale that cannot be read sells nothing.
 *
 * The keys come from src/lua/keys.ts and the fields from verify-coverage/keys.ts, so a new one is damaged here too. Each
 * damage has a sale of its own; all of them are damaged while no persister runs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Redis } from 'ioredis';
import { useAdmin } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, hold } from '../../harness/sales/purchases.ts';
import { applyTransition } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { makeWhole } from '../../harness/sales/whole-records.ts';
import { FILE } from '../../harness/use.ts';
import { joinWaitlist } from '../../src/lua/buy/join-waitlist.ts';
import { REBUILD_KEYS, type SaleKey, saleKey, WAITLIST_KEYS } from '../../src/lua/keys.ts';
import { examineSale } from '../../src/lua/recover/examine-sale.ts';
import { verifySale } from '../../src/verify/verify.ts';
import { another, fieldChange } from './verify-coverage/damage.ts';
import {
  LINE_FIELDS,
  RECORD_FIELDS,
  SALE_FIELDS,
  STOCK_FIELDS,
  TERMS_FIELDS,
} from './verify-coverage/keys.ts';

const PATIENCE = { catchUpMs: 3_000, repeats: 2, pauseMs: 100 };
const AT_ONCE = 8;
/** The requests of all sales are made at once. */
const PATIENT = { timeoutMs: 60_000 };
const UNREADABLE = '?';

interface Damage {
  what: string;
  apply: (client: Redis, keyOf: (key: SaleKey) => string) => Promise<unknown>;
}

function damagesOfField(key: 'sale' | 'stock', field: string): Damage[] {
  const change = (what: string, to: (value: string) => string): Damage => ({
    what: `${key} ${field} ${what}`,
    apply: async (client, keyOf) => {
      const value = (await client.hget(keyOf(key), field)) ?? '';
      await client.hset(keyOf(key), field, to(value));
    },
  });
  return [
    change('unreadable', () => UNREADABLE),
    // More remaining units than there are would be given to the waitlist before the recovery begins.
    change('changed', (value) => (field === 'unit:remaining' ? '1' : another(value))),
  ];
}

function damagesOfRecord(field: string, index: number): Damage[] {
  const change = (what: string, to: string | undefined): Damage => ({
    what: `record ${field} ${what}`,
    apply: async (client, keyOf) => {
      const [, saleId] = /\{(.*)\}/.exec(keyOf('buyers'))!;
      const record = await makeWhole(client, saleId!, 'ada');
      await client.hset(keyOf('buyers'), 'ada', fieldChange(index, to)(record));
    },
  });
  return [change('unreadable', UNREADABLE), change('changed', undefined)];
}

/** All four reservations are of one batch; of two of them Redis has whole records. */
function damagesOfTerms(field: string, index: number): Damage[] {
  const change = (what: string, to: string | undefined): Damage => ({
    what: `terms ${field} ${what}`,
    apply: async (client, keyOf) => {
      const [first, terms] = Object.entries(await client.hgetall(keyOf('terms')))[0]!;
      await client.hset(keyOf('terms'), first, fieldChange(index, to)(terms));
    },
  });
  return [change('unreadable', UNREADABLE), change('changed', undefined)];
}

function damagesOfLine(field: string, index: number): Damage[] {
  const change = (what: string, to: string | undefined): Damage => ({
    what: `line ${field} ${what}`,
    apply: async (client, keyOf) => {
      const [member] = await client.zrange(keyOf('line'), '0', '0');
      await client.zrem(keyOf('line'), member!);
      await client.zadd(keyOf('line'), 0, fieldChange(index, to)(member!));
    },
  });
  return [change('unreadable', UNREADABLE), change('changed', undefined)];
}

const DAMAGES: readonly Damage[] = [
  ...WAITLIST_KEYS.map(
    (key): Damage => ({
      what: `${key} deleted`,
      apply: (client, keyOf) => client.del(keyOf(key)),
    }),
  ),
  ...[...WAITLIST_KEYS, ...REBUILD_KEYS].map(
    (key): Damage => ({
      what: `${key} of another type`,
      apply: (client, keyOf) => client.set(keyOf(key), UNREADABLE),
    }),
  ),
  {
    what: 'all fields but the name and the fence deleted',
    apply: async (client, keyOf) => {
      const fields = await client.hkeys(keyOf('sale'));
      const deleted = fields.filter((field) => field !== 'name' && field !== 'fence');
      await client.hdel(keyOf('sale'), ...deleted);
    },
  },
  {
    what: 'counts deleted',
    apply: (client, keyOf) => client.hdel(keyOf('stock'), 'unit:remaining', 'unit:held'),
  },
  ...Object.keys(SALE_FIELDS).flatMap((field) => damagesOfField('sale', field)),
  ...Object.keys(STOCK_FIELDS).flatMap((field) => damagesOfField('stock', `unit:${field}`)),
  ...RECORD_FIELDS.flatMap(([field], index) => damagesOfRecord(field, index)),
  ...TERMS_FIELDS.flatMap(([field], index) => damagesOfTerms(field, index)),
  {
    what: 'a short record unreadable',
    apply: (client, keyOf) => client.hset(keyOf('buyers'), 'ada', 'AAzz'),
  },
  ...LINE_FIELDS.flatMap(([field], index) => damagesOfLine(field, index)),
  {
    what: 'an element of order unreadable',
    apply: (client, keyOf) => client.lset(keyOf('order'), 1, UNREADABLE),
  },
  {
    what: 'a member of holds unreadable',
    apply: (client, keyOf) => client.zadd(keyOf('holds'), 1, UNREADABLE),
  },
  {
    what: 'a value of past unreadable',
    apply: (client, keyOf) => client.hset(keyOf('past'), 'ada\t1', UNREADABLE),
  },
  {
    what: 'a value of waiting unreadable',
    apply: (client, keyOf) => client.hset(keyOf('waiting'), 'hal\tunit', UNREADABLE),
  },
  {
    what: 'a member of lineByQuantity unreadable',
    apply: (client, keyOf) => client.zadd(keyOf('lineByQuantity'), 0, UNREADABLE),
  },
  {
    what: 'an entry of events unreadable',
    apply: (client, keyOf) => client.xadd(keyOf('events'), '*', 'v', '1', 's', UNREADABLE),
  },
];

/** No decision depends on these, so the sale goes on until a persister finds the damage. */
const SOLD_UNTIL_FOUND = [
  /^(holds|line|waiting) deleted$/,
  /^(past|line|lineByQuantity|waiting) of another type$/,
  /^sale operationOutcome /,
  /^sale timeline deleted$/,
];
/** Only hot paths read these. One that has seen the sale before may take until its next view to notice. */
const READ_BY_VIEWS_ONLY = [
  /^sale (name|skus|operation|timeline) /,
  /^stock unit:(loaded|confirmed) /,
];

/** An operator must decide: the reason of each recovery that is blocked. */
const BLOCKED: Readonly<Record<string, RegExp>> = {
  'an entry of events unreadable': /dead letters .*retry or discard/,
};

const admin = await useAdmin(FILE);
const first = await usePersister(FILE, admin.redis.url, admin.databaseUrl);
const { client } = admin.shards.of('any');

/** Units are free, held, confirmed and returned; one buyer waits for more than are free. */
async function makeSoundSale(index: number): Promise<string> {
  const { shards } = admin;
  const { saleId } = await makeSale(admin, {
    saleId: `damaged-${index}`,
    stock: 5,
    perBuyerLimit: 3,
  });
  const [, bob, cyd] = await hold(shards, saleId, ['ada', 'bob', 'cyd', 'dan']);
  await applyTransition(shards, bob!, 'confirm');
  await applyTransition(shards, cyd!, 'give-back');
  const wish = { buyerId: 'hal', sku: 'unit', quantity: 3 };
  assert.equal((await shards.call(joinWaitlist, saleId, wish)).outcome, 'joined');
  return saleId;
}

async function inGroups<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>) {
  const results: R[] = [];
  for (let from = 0; from < items.length; from += AT_ONCE) {
    const group = items.slice(from, from + AT_ONCE);
    results.push(...(await Promise.all(group.map((item, i) => work(item, from + i)))));
  }
  return results;
}

const cases = await inGroups(DAMAGES, async (damage, index) => ({
  ...damage,
  saleId: await makeSoundSale(index),
}));
await inGroups(cases, ({ saleId }) =>
  eventually(async () => {
    const { events, drained } = await saleState(admin.shards, saleId);
    assert.equal(drained, events);
  }),
);
await first.close();

test('a sale that cannot be read sells nothing', async (t) => {
  await inGroups(cases, ({ saleId, apply }) => apply(client, (key) => saleKey(saleId, key)));
  const hotPath = await useHotPath(t, admin.redis.url);
  const wrong: string[] = [];
  await inGroups(cases, async ({ saleId, what }) => {
    const { damages, isForgotten } = await admin.shards.call(examineSale, saleId);
    if (damages.length === 0 && !isForgotten) return;
    const isOneOf = (patterns: readonly RegExp[]) => patterns.some((each) => each.test(what));
    if (isOneOf(SOLD_UNTIL_FOUND)) return;
    const { status, body } = await hotPath.buy(saleId, 'zoe');
    // A server that lost the whole sale does not know that there is one, until a persister tells it.
    const expected = what === 'sale deleted' ? 'sale_not_found' : 'recovering';
    if (body.code !== expected) wrong.push(`${what}: ${status} ${body.code}`);
    if (isOneOf(READ_BY_VIEWS_ONLY)) return;
    const bought = await buy(admin.shards, saleId, ['zoe']).catch(() => undefined);
    if (bought?.[0]?.outcome === 'reserved') wrong.push(`${what}: sold`);
  });
  assert.deepEqual(wrong, []);
});

test('a requested recovery repairs it, or says what an operator must decide', async (t) => {
  for (const { saleId } of cases) {
    const { status } = await admin.call(`POST /sales/${saleId}/recover`);
    assert.equal(status, 202);
  }
  await usePersister(t, admin.redis.url, admin.databaseUrl);
  const wrong: string[] = [];
  await inGroups(cases, async ({ saleId, what }) => {
    const recovery = await eventually(async () => {
      const { body } = await admin.call(`GET /sales/${saleId}/recoveries`);
      const requested = body.data.find(({ actor }: { actor: string }) => actor !== 'persister');
      assert.equal(requested?.state, 'done', what);
      return requested;
    }, PATIENT).catch(() => undefined);
    const expected = BLOCKED[what];
    const outcome = expected ? 'blocked' : 'rebuilt';
    if (recovery?.outcome !== outcome || (expected && !expected.test(recovery.report.why))) {
      wrong.push(`${what}: ${recovery?.outcome ?? 'not done'} ${recovery?.report.why ?? ''}`);
    } else if (!expected) {
      const { checks } = await verifySale(admin, saleId, PATIENCE);
      const failed = checks.filter(({ ok }) => !ok);
      if (failed.length > 0) wrong.push(`${what}: ${JSON.stringify(failed)}`);
      const [bought] = await buy(admin.shards, saleId, ['yan']);
      if (bought?.outcome !== 'reserved') wrong.push(`${what}: then ${bought?.outcome}`);
    }
  });
  assert.deepEqual(wrong, []);
});
