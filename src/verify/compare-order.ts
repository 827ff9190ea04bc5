/**
 * Compares every row with Redis' order of decision, position by position, and finds rows that have no record in Redis.
 * Both are exact while the sale is busy: Redis decides a position before PostgreSQL gets its row, and never gives it to
 * another buyer.
 */
import { ordinalOf } from '../domain/positions.ts';
import { saleKey } from '../lua/keys.ts';
import type { SaleState } from '../lua/read/read-sale.ts';
import { type Check, counted, fromRedis, type Verification, Violations } from './check.ts';

const ROWS_PER_READ = 2_000;

/** The reservations that were seen in Redis, one bit each. */
export class SeenOrdinals {
  readonly #bits: Uint8Array;

  constructor(last: number) {
    this.#bits = new Uint8Array((last >> 3) + 1);
  }

  add(ordinal: number): void {
    this.#bits[ordinal >> 3]! |= 1 << (ordinal & 7);
  }

  has(ordinal: number): boolean {
    return (this.#bits[ordinal >> 3]! & (1 << (ordinal & 7))) !== 0;
  }
}

export async function compareOrder(
  { servers: { sql, shards }, saleId }: Verification,
  { position, gaps }: SaleState,
  seen: SeenOrdinals,
): Promise<Check[]> {
  const { client } = shards.of(saleId);
  const unseen = new Violations();
  const disorder = new Violations();
  let compared = 0;
  for (let after = 0; ; ) {
    const rows = await sql<{ position: number; buyerId: string; reservationId: string }[]>`
      SELECT position, buyer_id, reservation_id FROM reservations
      WHERE sale_id = ${saleId} AND position > ${after} AND position <= ${position}
      ORDER BY position LIMIT ${ROWS_PER_READ}`;
    if (rows.length === 0) break;
    after = rows.at(-1)!.position;
    compared += rows.length;
    const [first, last] = [ordinalOf(rows[0]!.position, gaps), ordinalOf(after, gaps)];
    const order = await fromRedis(client.lrange(saleKey(saleId, 'order'), first - 1, last - 1));
    for (const row of rows) {
      const ordinal = ordinalOf(row.position, gaps);
      const buyerId = order[ordinal - first];
      if (ordinal === ordinalOf(row.position - 1, gaps)) {
        disorder.add(`position ${row.position} was skipped, and ${row.buyerId} has it`);
      } else if (buyerId !== row.buyerId) {
        disorder.add(
          `position ${row.position}: ${row.buyerId} in PostgreSQL, ${buyerId ?? 'nobody'} in Redis`,
        );
      }
      if (!seen.has(ordinal)) unseen.add(`${row.reservationId} is not in Redis`);
    }
  }
  return [
    {
      name: 'every-row-is-in-redis',
      ok: unseen.count === 0,
      expected: 'each row is in Redis under its buyer',
      actual: unseen.count === 0 ? `${compared} compared` : String(unseen),
    },
    {
      name: 'first-come-first-served',
      ok: disorder.count === 0,
      expected: 'each position has the same buyer in Redis and PostgreSQL',
      actual:
        disorder.count === 0
          ? counted(compared, 'position agrees', 'positions agree')
          : String(disorder),
    },
  ];
}
