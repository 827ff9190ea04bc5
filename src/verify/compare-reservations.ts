/**
 * Compares every reservation in Redis with its row in PostgreSQL, and every row with Redis. It reads both in chunks and
 * keeps one bit per reservation, so a million reservations take 125 KB.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ordinalOf } from '../domain/positions.ts';
import type { Reservation } from '../domain/reservation.ts';
import { canonicalItems, parseRecords } from '../domain/reservation-codec.ts';
import { saleKey } from '../lua/keys.ts';
import { readBuyer } from '../lua/read/read-buyer.ts';
import type { SaleState } from '../lua/read/read-sale.ts';
import type { Sql } from '../postgres/connection.ts';
import {
  type Check,
  counted,
  fromRedis,
  type RetryPolicy,
  some,
  type Verification,
} from './check.ts';

const CHUNK = 1_000;
/** Only this many buyers are checked again; more differences do not need confirmation. */
const SUSPECTS_MAX = 1_000;

interface Row {
  reservationId: string;
  buyerId: string;
  status: string;
  items: { sku: string; quantity: number }[];
  position: number;
  version: number;
  expiresAt: Date;
}

/** Buyers with a difference in the first comparison, each with one difference. */
type Suspects = Map<string, string>;

export async function compareReservations(
  verification: Verification,
  policy: RetryPolicy,
): Promise<Check[]> {
  // The current state: the scan also finds reservations that were made after the verification began.
  const upTo = await verification.readState();
  const assigned = ordinalOf(upTo.position, upTo.gaps);
  const seen = new Uint8Array(Math.ceil((assigned + 1) / 8));
  const inRedis = await compareRecords(verification, upTo, seen);
  const { unseen, disorder } = await compareRows(verification, upTo, seen);
  return [
    await recheck(verification, policy, {
      name: 'every-reservation-in-redis-is-a-row',
      expected: 'each with the same buyer, status, version, position, deadline and items',
      compared: inRedis.compared,
      suspects: inRedis.suspects,
    }),
    await recheck(verification, policy, {
      name: 'every-row-is-in-redis',
      expected: 'each row is in Redis under its buyer',
      compared: assigned,
      suspects: unseen,
    }),
    {
      name: 'first-come-first-served',
      ok: disorder.length === 0,
      expected: 'each position has the same buyer in Redis and PostgreSQL',
      actual:
        disorder.length === 0
          ? counted(assigned, 'position agrees', 'positions agree')
          : some(disorder),
    },
  ];
}

async function compareRecords(
  { servers, saleId, state }: Verification,
  upTo: SaleState,
  seen: Uint8Array,
): Promise<{ compared: number; suspects: Suspects }> {
  const { client } = servers.shards.of(saleId);
  const { currency } = state.definition;
  const suspects: Suspects = new Map();
  let compared = 0;
  let cursor = '0';
  do {
    const [next, fields] = await fromRedis(
      client.hscan(saleKey(saleId, 'buyers'), cursor, 'COUNT', CHUNK),
    );
    cursor = next;
    const reservations: Reservation[] = [];
    for (let index = 0; index + 1 < fields.length; index += 2) {
      const buyerId = fields[index]!;
      const records = parseRecords(fields[index + 1]!, { saleId, currency }, buyerId);
      if (hasDuplicates(records)) suspects.set(buyerId, `${buyerId} has a duplicate reservation`);
      reservations.push(...records);
    }
    compared += reservations.length;
    const rows = await rowsOf(
      servers.sql,
      reservations.map(({ reservationId }) => reservationId),
    );
    for (const reservation of reservations) {
      if (reservation.position <= upTo.position) {
        mark(seen, ordinalOf(reservation.position, upTo.gaps));
      }
      const difference = differenceOf(reservation, rows.get(reservation.reservationId));
      if (difference && suspects.size < SUSPECTS_MAX) suspects.set(reservation.buyerId, difference);
    }
  } while (cursor !== '0');
  return { compared, suspects };
}

/** Reads the rows by position; finds those that were not seen in Redis, and those with another buyer in Redis' order. */
async function compareRows(
  { servers: { sql, shards }, saleId }: Verification,
  { position, gaps }: SaleState,
  seen: Uint8Array,
): Promise<{ unseen: Suspects; disorder: string[] }> {
  const { client } = shards.of(saleId);
  const unseen: Suspects = new Map();
  const disorder: string[] = [];
  for (let after = 0; ; ) {
    const rows = await sql<{ position: number; buyerId: string; reservationId: string }[]>`
      SELECT position, buyer_id, reservation_id FROM reservations
      WHERE sale_id = ${saleId} AND position > ${after} AND position <= ${position}
      ORDER BY position LIMIT ${CHUNK}`;
    if (rows.length === 0) break;
    after = rows.at(-1)!.position;
    const [first, last] = [ordinalOf(rows[0]!.position, gaps), ordinalOf(after, gaps)];
    const order = await fromRedis(client.lrange(saleKey(saleId, 'order'), first - 1, last - 1));
    for (const row of rows) {
      const ordinal = ordinalOf(row.position, gaps);
      if (!isMarked(seen, ordinal) && unseen.size < SUSPECTS_MAX) {
        unseen.set(row.buyerId, `${row.reservationId} is not in Redis`);
      }
      const buyerId = order[ordinal - first];
      if (buyerId !== row.buyerId && disorder.length < SUSPECTS_MAX) {
        disorder.push(
          `position ${row.position}: ${row.buyerId} in PostgreSQL, ${buyerId ?? 'nobody'} in Redis`,
        );
      }
    }
  }
  return { unseen, disorder };
}

/** Checks the suspects again; only differences that remain count. */
async function recheck(
  verification: Verification,
  policy: RetryPolicy,
  check: { name: string; expected: string; compared: number; suspects: Suspects },
): Promise<Check> {
  let suspects = check.suspects;
  for (let repeat = 0; suspects.size > 0 && repeat < policy.repeats; repeat += 1) {
    await sleep(policy.pauseMs);
    const still: Suspects = new Map();
    for (const buyerId of suspects.keys()) {
      const difference = await differenceOfBuyer(verification, buyerId);
      if (difference) still.set(buyerId, difference);
    }
    suspects = still;
  }
  const { name, expected, compared } = check;
  const actual =
    suspects.size === 0 ? `${compared} compared, all equal` : some([...suspects.values()]);
  return { name, ok: suspects.size === 0, expected, actual };
}

async function differenceOfBuyer(
  { servers, saleId }: Verification,
  buyerId: string,
): Promise<string | undefined> {
  // Rows first: Redis must have every reservation that PostgreSQL has.
  const rows = await servers.sql<Row[]>`
    SELECT reservation_id, buyer_id, status, items, position, version, expires_at FROM reservations
    WHERE buyer_id = ${buyerId} AND sale_id = ${saleId}`;
  const reply = await servers.shards.call(readBuyer, saleId, buyerId);
  if (reply.outcome !== 'known') return `Redis replied ${reply.outcome} for ${buyerId}`;
  const inRedis = new Set(reply.reservations.map(({ reservationId }) => reservationId));
  for (const { reservationId } of rows) {
    if (!inRedis.has(reservationId)) return `${reservationId} is not in Redis`;
  }
  if (hasDuplicates(reply.reservations)) return `${buyerId} has a duplicate reservation`;
  const current = await rowsOf(servers.sql, [...inRedis]);
  for (const reservation of reply.reservations) {
    const difference = differenceOf(reservation, current.get(reservation.reservationId));
    if (difference) return difference;
  }
  return undefined;
}

async function rowsOf(sql: Sql, reservationIds: string[]): Promise<Map<string, Row>> {
  const rows = await sql<Row[]>`
    SELECT reservation_id, buyer_id, status, items, position, version, expires_at FROM reservations
    WHERE reservation_id = ANY(${reservationIds}::text[])`;
  return new Map(rows.map((row) => [row.reservationId, row]));
}

function differenceOf(reservation: Reservation, row: Row | undefined): string | undefined {
  const { reservationId } = reservation;
  if (!row) return `${reservationId} has no row`;
  const pairs = {
    buyer: [reservation.buyerId, row.buyerId],
    status: [reservation.status, row.status],
    version: [reservation.version, row.version],
    position: [reservation.position, row.position],
    deadline: [reservation.expiresAt, row.expiresAt.getTime()],
    items: [canonicalItems(reservation.items), canonicalItems(row.items)],
  };
  for (const [what, [inRedis, inPostgres]] of Object.entries(pairs)) {
    if (inRedis !== inPostgres) {
      return `${reservationId}: ${what} ${inRedis} in Redis, ${inPostgres} in PostgreSQL`;
    }
  }
  return undefined;
}

function hasDuplicates(reservations: readonly Reservation[]): boolean {
  return new Set(reservations.map(({ position }) => position)).size < reservations.length;
}

function mark(seen: Uint8Array, ordinal: number): void {
  seen[ordinal >> 3]! |= 1 << (ordinal & 7);
}

function isMarked(seen: Uint8Array, ordinal: number): boolean {
  return (seen[ordinal >> 3]! & (1 << (ordinal & 7))) !== 0;
}
