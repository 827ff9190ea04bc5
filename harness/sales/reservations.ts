/** Transitions of reservations without admin or hot path, their history, and checks of a whole sale. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { newTag, parseReservationId } from '../../src/domain/identifiers.ts';
import type { Reservation, ReservationTransition } from '../../src/domain/reservation.ts';
import { writeDetail } from '../../src/domain/transition-detail.ts';
import {
  type TransitionReply,
  type TransitionRequest,
  transition,
} from '../../src/lua/buy/transition.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';
import { afterDueHolds } from '../../src/redis/due-holds.ts';
import type { Shards } from '../../src/redis/shards.ts';
import { verifySale } from '../../src/verify/verify.ts';
import { eventually } from '../eventually.ts';
import type { Connections } from '../servers/connections.ts';
import { saleState } from './stream.ts';

export function applyTransition(
  shards: Shards,
  reservation: Pick<Reservation, 'saleId' | 'reservationId'>,
  wanted: Exclude<ReservationTransition, 'expire'>,
  /** A cancellation takes these units only. */
  part: Pick<TransitionRequest, 'items' | 'restock' | 'idempotencyKey'> = {},
): Promise<TransitionReply> {
  const request = {
    address: parseReservationId(reservation.reservationId)!,
    transition: wanted,
    detail: writeDetail({ actor: 'test', transition: wanted, ...part }),
    ...part,
    requestId: `request-of-${wanted}`,
    traceparent: '',
    tag: newTag(),
  };
  const { saleId } = reservation;
  return afterDueHolds(shards, saleId, () => shards.call(transition, saleId, request));
}

/** Waits until a hold has expired by Redis's clock, and then `beyondMs` longer. */
export async function untilExpired(
  shards: Shards,
  reservation: Pick<Reservation, 'saleId' | 'expiresAt'>,
  beyondMs = 0,
): Promise<void> {
  const { nowMs } = await saleState(shards, reservation.saleId);
  await sleep(Math.max(0, reservation.expiresAt + beyondMs - nowMs));
}

/** The counts of the only SKU of a sale from `makeSale`. */
export async function unitCounts(shards: Shards, saleId: string) {
  const [stock] = (await saleState(shards, saleId)).stock;
  const { loaded, remaining, held, confirmed, waiting } = stock!;
  assert.equal(loaded, remaining + held + confirmed);
  return { remaining, held, confirmed, waiting };
}

export interface HistoryRow {
  status: string;
  versions: number[];
}

/** A buyer's reservations in PostgreSQL by position, each with the versions in its history. */
export async function historyOf(
  { sql }: Pick<Connections, 'sql'>,
  saleId: string,
  buyerId: string,
): Promise<HistoryRow[]> {
  const rows = await sql<HistoryRow[]>`
    SELECT status, ARRAY(
      SELECT version FROM reservation_history AS history
      WHERE history.reservation_id = reservations.reservation_id ORDER BY version) AS versions
    FROM reservations WHERE sale_id = ${saleId} AND buyer_id = ${buyerId} ORDER BY position`;
  return [...rows];
}

/** Fails unless every check of `verify` passes, except for those named. */
export async function assertPromisesHold(
  servers: Pick<Connections, 'shards' | 'sql'>,
  saleId: string,
  except: readonly string[] = [],
): Promise<void> {
  const report = await verifySale(servers, saleId);
  assert.deepEqual(
    report.checks.filter(({ name, ok }) => !ok && !except.includes(name)),
    [],
  );
  if (except.length === 0) assert.equal(report.ok, true);
}

/** A buyer's reservations in Redis. */
export async function reservationsOf(
  shards: Shards,
  saleId: string,
  buyerId: string,
): Promise<Reservation[]> {
  const reply = await shards.call(readBuyer, saleId, buyerId);
  if (reply.outcome !== 'known') throw new Error(reply.outcome);
  return reply.reservations;
}

/** The number of reservations in PostgreSQL, of buyers whose ids begin with `prefix`. */
export async function rowCount(
  { sql }: Pick<Connections, 'sql'>,
  saleId: string,
  prefix = '',
): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM reservations
    WHERE sale_id = ${saleId} AND starts_with(buyer_id, ${prefix})`;
  return row!.count;
}

/** Waits until PostgreSQL has `count` reservations. */
export async function untilRows(
  servers: Pick<Connections, 'sql'>,
  saleId: string,
  count: number,
  prefix = '',
): Promise<void> {
  await eventually(async () => assert.equal(await rowCount(servers, saleId, prefix), count));
}
