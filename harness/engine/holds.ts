/** What tests of holds that end do and look at, again and again. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { newTag, parseReservationId } from '../../src/domain/identifiers.ts';
import {
  parseRecord,
  type Reservation,
  type ReservationTransition,
} from '../../src/domain/reservation.ts';
import type { SaleDefinition, SaleStatus } from '../../src/domain/sale.ts';
import { type TransitionReply, transition } from '../../src/lua/buy/transition.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import { createLogger } from '../../src/process/logger.ts';
import type { Shards } from '../../src/redis/shards.ts';
import { verifySale } from '../../src/verify/verify.ts';
import { buy, type Connections } from './sales.ts';
import { saleState } from './stream-state.ts';

/** One call of `reserve`; fails unless every buyer gets a unit. */
export async function hold(
  shards: Shards,
  saleId: string,
  buyerIds: readonly string[],
): Promise<Reservation[]> {
  const answers = await buy(shards, saleId, buyerIds);
  return answers.map((answer, index) => {
    assert.equal(answer.outcome, 'reserved');
    const record = 'record' in answer ? answer.record : '';
    return parseRecord(record, { saleId, currency: 'EUR' }, buyerIds[index]!);
  });
}

/** Buyers by number, `batchSize` to a call. */
export async function holdMany(
  shards: Shards,
  saleId: string,
  choices: { count: number; batchSize: number },
): Promise<Reservation[]> {
  const held: Reservation[] = [];
  while (held.length < choices.count) {
    const size = Math.min(choices.batchSize, choices.count - held.length);
    const from = held.length;
    const buyerIds = Array.from({ length: size }, (_, index) => `buyer-${from + index + 1}`);
    held.push(...(await hold(shards, saleId, buyerIds)));
  }
  return held;
}

export function move(
  shards: Shards,
  reservation: Reservation,
  wanted: Exclude<ReservationTransition, 'expire'>,
): Promise<TransitionReply> {
  return shards.call(transition, reservation.saleId, {
    address: parseReservationId(reservation.reservationId)!,
    transition: wanted,
    detail: '',
    requestId: `request-of-${wanted}`,
    traceparent: '',
    tag: newTag(),
  });
}

/** As an operator would, by the operation after the last. */
export async function setStatus(
  { shards, sql }: Connections,
  definition: SaleDefinition,
  status: SaleStatus,
): Promise<void> {
  const { saleId } = definition;
  await sql`UPDATE sales SET status = ${status} WHERE sale_id = ${saleId}`;
  const { operation } = await saleState(shards, saleId);
  const reply = await shards.call(applyOperation, saleId, {
    operation: operation + 1,
    timeline: 0,
    definition: { ...definition, status },
    changes: [],
  });
  assert.equal(reply.outcome, 'applied');
  await shards.publishChanged(saleId);
}

/** Until a hold is over by Redis' clock, and so long beyond. */
export async function untilOver(
  shards: Shards,
  reservation: Pick<Reservation, 'saleId' | 'expiresAt'>,
  beyondMs = 0,
): Promise<void> {
  const { nowMs } = await saleState(shards, reservation.saleId);
  await sleep(Math.max(0, reservation.expiresAt + beyondMs - nowMs));
}

/** The counts of the sale's only SKU: what `makeSale` makes. */
export async function unit(shards: Shards, saleId: string) {
  const [stock] = (await saleState(shards, saleId)).stock;
  const { loaded, remaining, held, confirmed, waiting } = stock!;
  assert.equal(loaded, remaining + held + confirmed);
  return { remaining, held, confirmed, waiting };
}

export interface HistoryRow {
  status: string;
  versions: number[];
}

/** The state of a buyer's reservations as PostgreSQL has them, in the order of decision, each with its history. */
export async function historyOf(
  { sql }: Pick<Connections, 'sql'>,
  saleId: string,
  buyerId: string,
): Promise<HistoryRow[]> {
  const rows = await sql<HistoryRow[]>`
    SELECT status, ARRAY(
      SELECT version FROM reservation_events AS history
      WHERE history.reservation_id = reservations.reservation_id ORDER BY version) AS versions
    FROM reservations WHERE sale_id = ${saleId} AND buyer_id = ${buyerId} ORDER BY position`;
  return [...rows];
}

/** Everything that `verify` checks. */
export async function assertPromisesHold(servers: Connections, saleId: string): Promise<void> {
  const report = await verifySale({ ...servers, log: createLogger('test', 'silent') }, saleId);
  assert.deepEqual(
    report.checks.filter(({ ok }) => !ok),
    [],
  );
}
