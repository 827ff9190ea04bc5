/**
 * Finds a reservation with its history. PostgreSQL has what is durable, Redis the newest state: a buyer may have been
 * notified of a reservation that has no row yet. Events that PostgreSQL lacks are read from the stream.
 *
 * `reservation_not_found` needs proof: the reservation is in neither server, or its sale cannot have it in Redis.
 */
import { problemOf } from '../../api/problems.ts';
import { Fault } from '../../domain/fault.ts';
import { parseReservationId, type ReservationAddress } from '../../domain/identifiers.ts';
import { ordinalOf } from '../../domain/positions.ts';
import { type Reservation, type ReservationEvent, sourceOf } from '../../domain/reservation.ts';
import { readReservation } from '../../lua/read/read-reservation.ts';
import { readSale } from '../../lua/read/read-sale.ts';
import type { Servers } from '../context.ts';
import { isRefusal, type Refusal, refuse } from '../http/outcome.ts';
import {
  type HistoryRow,
  type ReservationRow,
  readStored,
  type StoredReservation,
} from './reservation-queries.ts';
import { UNKNOWN_RESERVATION } from './transition-reservation.ts';

export interface FoundReservation {
  row: ReservationRow;
  history: HistoryRow[];
}

interface Newest {
  reservation: Reservation;
  /** Those that PostgreSQL may lack. */
  events: (ReservationEvent & { event: number })[];
}

/** Redis serves nobody else while it searches so many entries, about 1 ms. */
const ENTRIES_PER_CALL = 20;
/** A longer backlog is searched only up to here; the history then lacks the events behind it. */
const CALLS_MAX = 100;
/** Both servers are read again if events are missing: PostgreSQL may have got them between the two readings. */
const ROUNDS_MAX = 3;

/** Throws PostgreSQL's errors. */
export async function findReservation(
  servers: Servers,
  reservationId: string,
): Promise<FoundReservation | Refusal> {
  const address = parseReservationId(reservationId);
  if (!address) return UNKNOWN_RESERVATION;
  for (let round = 1; ; round += 1) {
    const stored = await readStored(servers.sql, address.saleId, reservationId);
    const found = await completeFromRedis(servers, address, stored);
    if (isRefusal(found)) return found;
    const { row, history } = found;
    const isComplete = row && history.at(-1)?.version === row.version;
    if (row && (isComplete || round === ROUNDS_MAX)) return { row, history };
    if (round === ROUNDS_MAX) return UNKNOWN_RESERVATION;
  }
}

async function completeFromRedis(
  servers: Servers,
  address: ReservationAddress,
  { row, history, sale }: StoredReservation,
): Promise<{ row: ReservationRow | undefined; history: HistoryRow[] } | Refusal> {
  if (!sale || sale.isArchived || sale.isDraft) return row ? { row, history } : UNKNOWN_RESERVATION;
  let newest: Newest | Refusal | undefined;
  try {
    newest = await readNewest(servers, address, sale.lastEntry);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    servers.log.warn({ reason: error.message }, 'reservation not read from redis');
    newest = refuse(problemOf(error), {
      detail: 'Redis is unavailable, and PostgreSQL does not have the reservation yet.',
    });
  }
  if (newest === undefined) return { row, history };
  // What PostgreSQL has is the best that is known.
  if (isRefusal(newest)) return row ? { row, history } : newest;
  const { reservation, events } = newest;
  if (row && row.version >= reservation.version) return { row, history };
  const last = row?.version ?? 0;
  const later = events.filter(({ version }) => version > last && version <= reservation.version);
  return {
    row: rowOf(reservation, row, events),
    history: [...history.filter(({ version }) => version <= last), ...later.map(historyRowOf)],
  };
}

/** Undefined: Redis has the sale, and the reservation is not in it. */
async function readNewest(
  { shards }: Servers,
  address: ReservationAddress,
  lastEntry: string,
): Promise<Newest | Refusal | undefined> {
  const { saleId, position } = address;
  const sale = await shards.call(readSale, saleId);
  if (sale.outcome !== 'known') return refuse('recovering');
  const index = ordinalOf(position, sale.state.gaps) - 1;
  const events: Newest['events'] = [];
  for (let after = lastEntry, calls = 1; ; calls += 1) {
    const request = { address, index, after, entriesMax: ENTRIES_PER_CALL };
    const reply = await shards.call(readReservation, saleId, request);
    if (reply.outcome === 'unknown_reservation') return undefined;
    if (reply.outcome !== 'known') return refuse('recovering');
    events.push(...reply.events);
    const { reservation } = reply;
    if (reply.lastEntry === undefined || calls === CALLS_MAX) return { reservation, events };
    after = reply.lastEntry;
  }
}

function rowOf(
  reservation: Reservation,
  row: ReservationRow | undefined,
  events: Newest['events'],
): ReservationRow {
  const { idempotencyKey: _, reservedAt, expiresAt, items, ...same } = reservation;
  const first = events.find(({ version }) => version === 1);
  const last = events.findLast(({ version }) => version === reservation.version);
  return {
    ...same,
    source: sourceOf(reservation),
    items: [...items],
    reservedAt: new Date(reservedAt),
    expiresAt: new Date(expiresAt),
    updatedAt: new Date(last?.occurredAt ?? reservedAt),
    requestId: row?.requestId ?? first?.requestId ?? '',
  };
}

function historyRowOf(event: Newest['events'][number]): HistoryRow {
  const { version, status, occurredAt, detail, requestId } = event;
  return {
    version,
    event: event.event,
    status,
    occurredAt: new Date(occurredAt),
    detail,
    requestId,
  };
}
