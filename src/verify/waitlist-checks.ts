/**
 * Checks of the waitlist. Redis keeps it in three structures that must agree: a count per SKU for decisions, an ordered
 * set for serving, and a hash by buyer for lookups.
 */
import { parseWaitingField, parseWaitlistMember, waitingField } from '../domain/waitlist.ts';
import { saleKey } from '../lua/keys.ts';
import { type CheckDefinition, inOneStep, some, type Verification } from './check.ts';

const CHUNK = 1_000;

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
    name: 'everybody-in-line-is-found',
    expected: 'each entry by buyer is in the order, for the same buyer and SKU',
    find: async (verification) => {
      const wrong: string[] = [];
      let compared = 0;
      for await (const entries of readEntries(verification)) {
        compared += entries.length;
        for (const entry of await missingOf(verification, entries)) {
          // An entry may have been served between the two reads, so both are read again in one transaction.
          if (await isStillMissing(verification, entry)) wrong.push(describe(entry));
        }
      }
      return {
        ok: wrong.length === 0,
        actual: wrong.length === 0 ? `${compared} found` : some(wrong),
      };
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

async function missingOf(verification: Verification, entries: readonly Entry[]): Promise<Entry[]> {
  if (entries.length === 0) return [];
  const { key, client } = waitlistOf(verification);
  const members = entries.map(({ member }) => member);
  const [scores] = await inOneStep(client.multi().zmscore(key('line'), ...members));
  return entries.filter(
    (entry, index) => (scores as (string | null)[])[index] === null || !isOfSameBuyer(entry),
  );
}

async function isStillMissing(verification: Verification, entry: Entry): Promise<boolean> {
  const { key, client } = waitlistOf(verification);
  const [member, score] = await inOneStep(
    client.multi().hget(key('waiting'), entry.field).zscore(key('line'), entry.member),
  );
  return member === entry.member && (score === null || !isOfSameBuyer(entry));
}

function isOfSameBuyer({ field, member }: Entry): boolean {
  const { sku, buyerId } = parseWaitlistMember(member);
  return field === waitingField(buyerId, sku);
}

function describe({ field }: Entry): string {
  const { buyerId, sku } = parseWaitingField(field);
  return `${buyerId} is not in the order for ${sku}`;
}

function waitlistOf({ servers, saleId }: Verification) {
  return {
    client: servers.shards.of(saleId).client,
    key: (name: 'stock' | 'line' | 'waiting') => saleKey(saleId, name),
  };
}
