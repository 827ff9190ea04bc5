/**
 * What must hold of the line for what is sold out: it is kept three times, as a count for deciding, in order for
 * serving and by buyer for finding, and the three must agree.
 */

import type { ChainableCommander } from 'ioredis';
import { Fault } from '../domain/fault.ts';
import { parseWaitingField, parseWaitlistMember, waitingField } from '../domain/waitlist.ts';
import { saleKey } from '../lua/keys.ts';
import { type CheckDefinition, some, type Verification } from './check.ts';

const CHUNK = 1_000;

export const WAITLIST_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'the-line-is-counted-right',
    expected:
      'for every SKU as many buyers in line as are counted, and as many by buyer as in line',
    find: async (verification) => {
      const skus = verification.state.stock.map(({ sku }) => sku);
      const { counted, inLine, inAll, byBuyer } = await readCounts(verification, skus);
      const wrong = skus.flatMap((sku, index) =>
        counted[index] === inLine[index]
          ? []
          : [`${sku}: ${counted[index]} counted, ${inLine[index]} in line`],
      );
      const known = inLine.reduce((sum, length) => sum + length, 0);
      if (known !== inAll) wrong.push(`${inAll - known} in line for what the sale has not`);
      if (byBuyer !== inAll) wrong.push(`${inAll} in line, ${byBuyer} by buyer`);
      return {
        ok: wrong.length === 0,
        actual: wrong.length === 0 ? `${inAll} in line` : some(wrong),
      };
    },
  },
  {
    name: 'everybody-in-line-is-found',
    expected: 'each entry by buyer stands in the line, for that buyer and that SKU',
    find: async (verification) => {
      const wrong: string[] = [];
      let compared = 0;
      for await (const entries of readEntries(verification)) {
        compared += entries.length;
        for (const entry of await missingOf(verification, entries)) {
          // Whoever was served between two readings is no exception; the two are read again at one moment.
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

/** An entry of `waiting`: `buyer TAB sku` and the member of the line that it names. */
interface Entry {
  field: string;
  member: string;
}

/** All at one moment: the line moves while it is looked at. */
async function readCounts(verification: Verification, skus: readonly string[]) {
  const { key, client } = lineOf(verification);
  const transaction = client.multi();
  transaction.hmget(key('stock'), ...skus.map((sku) => `${sku}:waiting`));
  transaction.zcard(key('line'));
  transaction.hlen(key('waiting'));
  for (const sku of skus) transaction.zlexcount(key('line'), `[${sku}\t`, `(${sku}\n`);
  const [counts, inAll, byBuyer, ...inLine] = await execute(transaction);
  return {
    counted: (counts as (string | null)[]).map((count) => Number(count ?? 0)),
    inAll: Number(inAll),
    byBuyer: Number(byBuyer),
    inLine: inLine.map(Number),
  };
}

async function* readEntries(verification: Verification): AsyncGenerator<Entry[]> {
  const { key, client } = lineOf(verification);
  let cursor = '0';
  do {
    const transaction = client.multi().hscan(key('waiting'), cursor, 'COUNT', CHUNK);
    const [scanned] = await execute(transaction);
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
  const { key, client } = lineOf(verification);
  const members = entries.map(({ member }) => member);
  const [scores] = await execute(client.multi().zmscore(key('line'), ...members));
  return entries.filter(
    (entry, index) => (scores as (string | null)[])[index] === null || !namesItsPlace(entry),
  );
}

async function isStillMissing(verification: Verification, entry: Entry): Promise<boolean> {
  const { key, client } = lineOf(verification);
  const [member, score] = await execute(
    client.multi().hget(key('waiting'), entry.field).zscore(key('line'), entry.member),
  );
  return member === entry.member && (score === null || !namesItsPlace(entry));
}

function namesItsPlace({ field, member }: Entry): boolean {
  const { sku, buyerId } = parseWaitlistMember(member);
  return field === waitingField(buyerId, sku);
}

function describe({ field }: Entry): string {
  const { buyerId, sku } = parseWaitingField(field);
  return `${buyerId} is not in line for ${sku}`;
}

function lineOf({ servers, saleId }: Verification) {
  return {
    client: servers.shards.of(saleId).client,
    key: (name: 'stock' | 'line' | 'waiting') => saleKey(saleId, name),
  };
}

/** Redis being away is a Fault here as it is where a script is called. */
async function execute(transaction: ChainableCommander): Promise<unknown[]> {
  try {
    const replies = await transaction.exec();
    if (!replies) throw new Error('the transaction was not executed');
    return replies.map(([error, reply]) => {
      if (error) throw error;
      return reply;
    });
  } catch (error) {
    throw new Fault('not_executed', 'Redis went away while it was read', { cause: error });
  }
}
