/**
 * Reads the waitlist that Redis still has of a closed sale. PostgreSQL does not have it, so what is damaged is taken from
 * its other copy: `line` has the members in order, and `waiting` has the same members by buyer.
 */
import { isWaitlistMember, parseWaitlistMember, waitingField } from '../../domain/waitlist.ts';
import { type SaleKey, saleKey } from '../../lua/keys.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { StreamConsumer } from '../stream/consumer.ts';

/** Members per read. */
const PAGE = 1_000;

interface Waiter {
  member: string;
  /** Its field in the hash `waiting`. */
  field: string;
  sku: string;
  ticket: number;
}

export interface WaitlistReader {
  /** Members of neither copy could be read. */
  dropped: number;
  pages: () => AsyncGenerator<Waiter[]>;
}

/** `keys`: those that exist and have the right type. */
export function readWaitlist(
  { server, saleId }: StreamConsumer,
  transaction: Transaction,
  keys: ReadonlySet<SaleKey>,
): WaitlistReader {
  const reader: WaitlistReader = { dropped: 0, pages };
  return reader;

  async function* pages(): AsyncGenerator<Waiter[]> {
    const rows = await transaction<{ sku: string }[]>`
      SELECT sku FROM sale_skus WHERE sale_id = ${saleId}`;
    const skus = new Set(rows.map(({ sku }) => sku));
    let unreadable = 0;
    let found = 0;
    for await (const members of readLine()) {
      const waiters = members.flatMap((member) => waiterOf(member, skus));
      unreadable += members.length - waiters.length;
      found += members.length;
      yield waiters;
    }
    const byBuyer = keys.has('waiting')
      ? await server.client.hlen(saleKey(saleId, 'waiting'))
      : found;
    if (unreadable === 0 && byBuyer <= found) return;
    const known = new Set<string>();
    for await (const members of readLine()) {
      for (const { field } of members.flatMap((member) => waiterOf(member, skus))) known.add(field);
    }
    for await (const members of readByBuyer()) {
      const others = members
        .flatMap((member) => waiterOf(member, skus))
        .filter(({ field }) => !known.has(field));
      for (const { field } of others) known.add(field);
      yield others;
    }
    reader.dropped = Math.max(found, byBuyer) - known.size;
  }

  async function* readLine(): AsyncGenerator<string[]> {
    if (!keys.has('line')) return;
    for (let from = 0; ; from += PAGE) {
      const [first, last] = [String(from), String(from + PAGE - 1)];
      const members = await server.client.zrange(saleKey(saleId, 'line'), first, last);
      if (members.length === 0) return;
      yield members;
    }
  }

  async function* readByBuyer(): AsyncGenerator<string[]> {
    if (!keys.has('waiting')) return;
    let cursor = '0';
    do {
      const [next, flat] = await server.client.hscan(
        saleKey(saleId, 'waiting'),
        cursor,
        'COUNT',
        PAGE,
      );
      cursor = next;
      yield flat.filter((_, index) => index % 2 === 1);
    } while (cursor !== '0');
  }
}

function waiterOf(member: string, skus: ReadonlySet<string>): Waiter[] {
  if (!isWaitlistMember(member)) return [];
  const { sku, ticket, buyerId } = parseWaitlistMember(member);
  return skus.has(sku) ? [{ member, field: waitingField(buyerId, sku), sku, ticket }] : [];
}
