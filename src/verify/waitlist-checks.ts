/**
 * Checks of the waitlist. Redis keeps it in structures that must agree: per SKU a count and the smallest quantity for
 * decisions, an ordered set for ranks, one by quantity for serving, and a hash by buyer for lookups.
 */
import {
  isWaitlistMember,
  memberByQuantity,
  parseWaitingField,
  parseWaitlistMember,
  quantityOf,
  waitingField,
} from '../domain/waitlist.ts';
import { saleKey } from '../lua/keys.ts';
import {
  type CheckDefinition,
  fromRedis,
  inOneStep,
  notCompared,
  some,
  type Verification,
} from './check.ts';

const CHUNK = 1_000;
/** See lua/parts/waitlist-index.lua. Until a sweep has made it, the waitlist is not served and its units are for nobody. */
const NO_INDEX = 'no sweep has made the entries by quantity';

export const WAITLIST_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'the-line-is-counted-right',
    expected:
      'for every SKU, as many entries in order as are counted, and as many by buyer as in order',
    find: async (verification) => {
      const skus = verification.state.stock.map(({ sku }) => sku);
      const { counted, inOrder, inAll, byBuyer } = await readCounts(verification, skus);
      const wrong = skus.flatMap((sku, index) =>
        counted[index] === inOrder[index]
          ? []
          : [`${sku}: ${counted[index]} counted, ${inOrder[index]} in order`],
      );
      const known = inOrder.reduce((sum, length) => sum + length, 0);
      if (known !== inAll)
        wrong.push(`${inAll - known} in order for SKUs that the sale does not have`);
      if (byBuyer !== inAll) wrong.push(`${inAll} in order, ${byBuyer} by buyer`);
      return {
        ok: wrong.length === 0,
        actual: wrong.length === 0 ? `${inAll} on the waitlist` : some(wrong),
      };
    },
  },
  {
    name: 'the-line-is-known-by-quantity',
    expected:
      'for every SKU, as many entries by quantity as in order, and the smallest quantity is that of the first',
    find: async (verification) => {
      const skus = verification.state.stock.map(({ sku }) => sku);
      const obstacle = await untilIndexed(verification);
      if (obstacle !== undefined) return notCompared(obstacle);
      const { isIndexed, bySku, total } = await readByQuantity(verification, skus);
      if (!isIndexed) return notCompared(NO_INDEX);
      const wrong: string[] = [];
      for (const { sku, inOrder, byQuantity, stored, smallest } of bySku) {
        if (inOrder !== byQuantity)
          wrong.push(`${sku}: ${inOrder} in order, ${byQuantity} by quantity`);
        if (inOrder > 0 && stored !== smallest)
          wrong.push(`${sku}: ${stored} is stored as the smallest quantity, ${smallest} is`);
      }
      const known = bySku.reduce((sum, { byQuantity }) => sum + byQuantity, 0);
      if (known !== total)
        wrong.push(`${total - known} by quantity for SKUs that the sale does not have`);
      return {
        ok: wrong.length === 0,
        actual: wrong.length === 0 ? `${total} by quantity` : some(wrong),
      };
    },
  },
  {
    name: 'everybody-in-line-is-found',
    expected:
      'each entry by buyer is in the order and by quantity, for the same buyer and SKU, with a possible quantity',
    find: async (verification) => {
      let obstacle = await untilIndexed(verification);
      const wrong: string[] = [];
      let compared = 0;
      for await (const entries of readEntries(verification)) {
        compared += entries.length;
        const { missing, isIndexed } = await missingOf(verification, entries);
        if (!isIndexed) obstacle ??= NO_INDEX;
        for (const entry of missing) {
          // An entry may have been served between the two reads.
          if (await isStillMissing(verification, entry)) wrong.push(describe(entry));
        }
      }
      if (obstacle !== undefined) wrong.push(`not compared by quantity: ${obstacle}`);
      return {
        ok: wrong.length === 0,
        actual: wrong.length === 0 ? `${compared} found` : some(wrong),
      };
    },
  },
  {
    name: 'every-ticket-was-given',
    expected: 'no ticket of the waitlist is above the last that was given',
    find: async (verification) => {
      const { servers, saleId, state } = verification;
      // PostgreSQL first: a ticket is given before it is served.
      const [served] = await servers.sql<{ ticket: number }[]>`
        SELECT coalesce(max(substring(idempotency_key FROM '^waitlist [a-d]?([0-9]+)$')::bigint), 0)::bigint AS ticket
        FROM reservations r WHERE sale_id = ${saleId} AND r.source = 'waitlist'`;
      const { key, client } = waitlistOf(verification);
      const transaction = client.multi().hget(saleKey(saleId, 'sale'), 'tickets');
      for (const { sku } of state.stock) {
        transaction.zrevrangebylex(key('line'), `(${sku}\n`, `[${sku}\t`, 'LIMIT', 0, 1);
      }
      const [given, ...lastOfSkus] = await inOneStep(transaction);
      const waiting = (lastOfSkus as string[][])
        .flat()
        .map((member) => parseWaitlistMember(member).ticket);
      const last = Math.max(served!.ticket, ...waiting);
      const count = Number(given ?? 0);
      return { ok: last <= count, actual: `${last} in use, ${count} given` };
    },
  },
];

/** An entry of the hash `waiting`: its field, and the member of the ordered set that it refers to. */
interface Entry {
  field: string;
  member: string;
}

/** In one transaction, because the waitlist changes. */
async function readCounts(verification: Verification, skus: readonly string[]) {
  const { key, client } = waitlistOf(verification);
  const transaction = client.multi();
  transaction.hmget(key('stock'), ...skus.map((sku) => `${sku}:waiting`));
  transaction.zcard(key('line'));
  transaction.hlen(key('waiting'));
  for (const sku of skus) transaction.zlexcount(key('line'), `[${sku}\t`, `(${sku}\n`);
  const [counts, inAll, byBuyer, ...inOrder] = await inOneStep(transaction);
  return {
    counted: (counts as (string | null)[]).map((count) => Number(count ?? 0)),
    inAll: Number(inAll),
    byBuyer: Number(byBuyer),
    inOrder: inOrder.map(Number),
  };
}

/** Undefined once a sweep has made the entries by quantity. */
function untilIndexed({ waitForSweep, servers, saleId }: Verification) {
  const { client } = servers.shards.of(saleId);
  return waitForSweep(async () => {
    const marks = await fromRedis(client.hmget(saleKey(saleId, 'sale'), 'tickets', 'indexed'));
    return isIndexedBy(marks) ? undefined : NO_INDEX;
  });
}

function isIndexedBy(marks: readonly (string | null)[]): boolean {
  const [tickets, indexed] = marks;
  return Number(tickets ?? 0) === Number(indexed ?? 0);
}

/** In one transaction too. */
async function readByQuantity(verification: Verification, skus: readonly string[]) {
  const { key, client } = waitlistOf(verification);
  const transaction = client.multi().hmget(key('sale'), 'tickets', 'indexed');
  transaction.zcard(key('lineByQuantity'));
  for (const sku of skus) {
    const [from, upto] = [`[${sku}\t`, `(${sku}\n`] as const;
    transaction.zlexcount(key('line'), from, upto);
    transaction.zlexcount(key('lineByQuantity'), from, upto);
    transaction.hget(key('stock'), `${sku}:smallestWaiting`);
    transaction.zrangebylex(key('lineByQuantity'), from, upto, 'LIMIT', 0, 1);
  }
  const [marks, total, ...replies] = await inOneStep(transaction);
  return {
    isIndexed: isIndexedBy(marks as (string | null)[]),
    total: Number(total),
    bySku: skus.map((sku, index) => {
      const [inOrder, byQuantity, stored, heads] = replies.slice(4 * index, 4 * index + 4);
      const [head] = heads as string[];
      return {
        sku,
        inOrder: Number(inOrder),
        byQuantity: Number(byQuantity),
        stored: Number(stored),
        smallest: head === undefined ? 0 : quantityOf(head),
      };
    }),
  };
}

async function* readEntries(verification: Verification): AsyncGenerator<Entry[]> {
  const { key, client } = waitlistOf(verification);
  let cursor = '0';
  do {
    const transaction = client.multi().hscan(key('waiting'), cursor, 'COUNT', CHUNK);
    const [scanned] = await inOneStep(transaction);
    const [next, flat] = scanned as [string, string[]];
    const entries: Entry[] = [];
    for (let index = 0; index + 1 < flat.length; index += 2) {
      entries.push({ field: flat[index]!, member: flat[index + 1]! });
    }
    yield entries;
    cursor = next;
  } while (cursor !== '0');
}

async function missingOf(
  verification: Verification,
  entries: readonly Entry[],
): Promise<{ missing: Entry[]; isIndexed: boolean }> {
  if (entries.length === 0) return { missing: [], isIndexed: true };
  const { key, client } = waitlistOf(verification);
  const members = entries.map(({ member }) => member);
  const [marks, scores, scoresByQuantity] = (await inOneStep(
    client
      .multi()
      .hmget(key('sale'), 'tickets', 'indexed')
      .zmscore(key('line'), ...members)
      .zmscore(key('lineByQuantity'), ...members.map(memberByQuantity)),
  )) as (string | null)[][];
  const isIndexed = isIndexedBy(marks!);
  const missing = entries.filter(
    (entry, index) =>
      Number(scores![index] ?? -1) !== 0 ||
      (isIndexed && Number(scoresByQuantity![index] ?? -1) !== 0) ||
      !isOfSameBuyer(entry),
  );
  return { missing, isIndexed };
}

async function isStillMissing(verification: Verification, entry: Entry): Promise<boolean> {
  const { key, client } = waitlistOf(verification);
  const { missing } = await missingOf(verification, [entry]);
  if (missing.length === 0) return false;
  // Read last: no member returns, so it was there all the time.
  const [member] = await inOneStep(client.multi().hget(key('waiting'), entry.field));
  return member === entry.member;
}

function isOfSameBuyer({ field, member }: Entry): boolean {
  const { sku, buyerId } = parseWaitlistMember(member);
  return isWaitlistMember(member) && field === waitingField(buyerId, sku);
}

function describe({ field }: Entry): string {
  const { buyerId, sku } = parseWaitingField(field);
  return `${buyerId} is not in the order for ${sku}`;
}

function waitlistOf({ servers, saleId }: Verification) {
  return {
    client: servers.shards.of(saleId).client,
    key: (name: 'sale' | 'stock' | 'line' | 'lineByQuantity' | 'waiting') => saleKey(saleId, name),
  };
}
