/**
 * What PostgreSQL has of a request. No index has request ids: one would cost every purchase, and these queries are rare.
 * Instead they read the histories of the sales that changed in the time given, or of one sale by its primary key.
 */
import type { ReservationStatus } from '../../domain/reservation.ts';
import { reservationEventType } from '../../domain/webhook.ts';
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import type { Moment } from './moment.ts';

/** Reading the history of 10 million events takes some seconds. */
const QUERY_MS_MAX = 60_000;
/** One request has one decision; but clients may send the same id with many requests. */
const DECISIONS_MAX = 50;
const ROWS_MAX = 100;

export interface Search {
  requestId: string;
  since: Date;
  saleId: string | undefined;
}

export interface Stored {
  moments: Moment[];
  traceparents: string[];
  /** There were more decisions than DECISIONS_MAX. */
  isCut: boolean;
}

interface EventRow {
  reservationId: string;
  version: number;
  event: number;
  status: ReservationStatus;
  occurredAt: Date;
  detail: string;
  requestId: string;
  traceparent: string;
}

/** Throws PostgreSQL's errors; 57014 (query_canceled) after QUERY_MS_MAX. */
export async function readStored(sql: Sql, search: Search): Promise<Stored> {
  return inTransaction(sql, async (tx) => {
    await tx`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`;
    await tx.unsafe(`SET LOCAL statement_timeout = ${QUERY_MS_MAX}`);
    const found = await findEvents(tx, search);
    const own = found.slice(0, DECISIONS_MAX);
    const ids = [...new Set(own.map(({ reservationId }) => reservationId))];
    const moments = [
      ...own.map(momentOfDecision),
      ...(await laterDecisions(tx, own, ids)),
      ...(await rows(tx, own, ids)),
      ...(await webhooks(tx, own)),
      ...(await changes(tx, search)),
      ...(await deadLetters(tx, search)),
    ];
    const traceparents = own.map(({ traceparent }) => traceparent).filter((text) => text !== '');
    return {
      moments,
      traceparents: [...new Set(traceparents)],
      isCut: found.length > DECISIONS_MAX,
    };
  });
}

function findEvents(tx: Transaction, { requestId, since, saleId }: Search): Promise<EventRow[]> {
  const ofSales =
    saleId === undefined
      ? tx`sale_id IN (
          SELECT sale_id FROM checkpoints WHERE updated_at >= ${since}
          UNION SELECT sale_id FROM sales WHERE archived_at IS NOT NULL)`
      : tx`sale_id = ${saleId}`;
  return tx<EventRow[]>`
    SELECT reservation_id, version, event, status, occurred_at, detail, request_id, traceparent
    FROM reservation_history
    WHERE ${ofSales} AND request_id = ${requestId} AND occurred_at >= ${since}
    ORDER BY occurred_at, event LIMIT ${DECISIONS_MAX + 1}`;
}

function momentOfDecision(event: EventRow): Moment {
  return {
    at: event.occurredAt,
    kind: 'decision',
    subject: event.reservationId,
    text: `${reservationEventType(event)}, event ${event.event} of the sale, version ${event.version}`,
  };
}

/** What other requests, or the end of the hold, did to the same reservations afterwards. */
async function laterDecisions(
  tx: Transaction,
  own: readonly EventRow[],
  ids: readonly string[],
): Promise<Moment[]> {
  const versions = new Map(own.map(({ reservationId, version }) => [reservationId, version]));
  const history = await tx<EventRow[]>`
    SELECT reservation_id, version, event, status, occurred_at, detail, request_id, traceparent
    FROM reservation_events WHERE reservation_id = ANY(${tx.array([...ids])})`;
  return history
    .filter(({ reservationId, version }) => version > versions.get(reservationId)!)
    .map((event) => ({
      at: event.occurredAt,
      kind: 'later decision',
      subject: event.reservationId,
      text: `${reservationEventType(event)}, version ${event.version}, ${
        event.requestId === '' ? 'by the engine itself' : `by request ${event.requestId}`
      }`,
    }));
}

async function rows(
  tx: Transaction,
  own: readonly EventRow[],
  ids: readonly string[],
): Promise<Moment[]> {
  const first = new Set(
    own.filter(({ version }) => version === 1).map(({ reservationId }) => reservationId),
  );
  const found = await tx<
    {
      reservationId: string;
      buyerId: string;
      status: string;
      position: number;
      version: number;
      persistedAt: Date;
    }[]
  >`
    SELECT reservation_id, buyer_id, status, position, version, persisted_at
    FROM reservations WHERE reservation_id = ANY(${tx.array([...ids])})`;
  // The time is that of the reservation's first row; a transition changes the row and keeps it.
  return found
    .filter(({ reservationId }) => first.has(reservationId))
    .map(({ reservationId, buyerId, status, position, version, persistedAt }) => ({
      at: persistedAt,
      kind: 'row',
      subject: reservationId,
      text: `durable in PostgreSQL: buyer ${buyerId}, position ${position}; now ${status}, version ${version}`,
    }));
}

/** Messages that still wait in the outbox, and the deliveries to each endpoint. Never an endpoint's path: it may be secret. */
async function webhooks(tx: Transaction, own: readonly EventRow[]): Promise<Moment[]> {
  const messageIds = own.map(({ reservationId, version }) => `evt_${reservationId}_${version}`);
  const ids = tx.array(messageIds);
  const waiting = await tx<{ messageId: string; eventType: string; createdAt: Date }[]>`
    SELECT message_id, event_type, created_at FROM webhook_messages WHERE message_id = ANY(${ids})`;
  const deliveries = await tx<
    {
      webhookId: string;
      messageId: string;
      eventType: string;
      state: string;
      attempts: number;
      dueAt: Date;
      createdAt: Date;
      finishedAt: Date | null;
      lastStatus: number | null;
      lastError: string | null;
    }[]
  >`
    SELECT webhook_id, message_id, event_type, state, attempts, due_at, created_at, finished_at, last_status, last_error
    FROM webhook_deliveries WHERE message_id = ANY(${ids}) ORDER BY delivery_id`;
  return [
    ...waiting.map(({ messageId, eventType, createdAt }) => ({
      at: createdAt,
      kind: 'webhook' as const,
      subject: messageId,
      text: `${eventType} is in the outbox; a persister makes the deliveries from it`,
    })),
    ...deliveries.map((each) => {
      const { webhookId, messageId, eventType, state, attempts, dueAt, lastStatus, lastError } =
        each;
      const tries = attempts === 1 ? '1 attempt' : `${attempts} attempts`;
      const result = [lastStatus, lastError].filter((part) => part !== null).join(' ');
      const next = state === 'pending' ? `, next attempt at ${dueAt.toISOString()}` : '';
      return {
        at: each.finishedAt ?? each.createdAt,
        kind: 'webhook' as const,
        subject: messageId,
        text: `${eventType} to ${webhookId}: ${state} after ${tries}${result === '' ? '' : ` (${result})`}${next}`,
      };
    }),
  ];
}

/** Of operators: sale operations, requested recoveries and the audit log, which are small. */
async function changes(tx: Transaction, { requestId, since, saleId }: Search): Promise<Moment[]> {
  const ofSale = saleId === undefined ? tx`true` : tx`sale_id = ${saleId}`;
  const found = await tx<
    {
      at: Date;
      kind: 'sale operation' | 'recovery' | 'audit';
      saleId: string | null;
      text: string;
    }[]
  >`
    SELECT created_at AS at, 'sale operation' AS kind, sale_id,
      format('%s, number %s, by %s: %s%s', action, operation, actor, outcome,
        to_char(applied_at AT TIME ZONE 'UTC', '" in Redis at "YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS text
    FROM sale_operations WHERE ${ofSale} AND request_id = ${requestId} AND created_at >= ${since}
    UNION ALL
    SELECT requested_at, 'recovery', sale_id, format('requested by %s: %s', actor, coalesce(outcome, state))
    FROM sale_recoveries WHERE ${ofSale} AND request_id = ${requestId} AND requested_at >= ${since}
    UNION ALL
    SELECT occurred_at, 'audit', sale_id, format('%s by %s', action, actor)
    FROM audit_log WHERE ${ofSale} AND request_id = ${requestId} AND occurred_at >= ${since}
    LIMIT ${ROWS_MAX}`;
  return found.map(({ at, kind, saleId: sale, text }) => ({ at, kind, subject: sale ?? '', text }));
}

/** A dead letter keeps the event line, of which the request id is one field. */
async function deadLetters(
  tx: Transaction,
  { requestId, since, saleId }: Search,
): Promise<Moment[]> {
  const ofSale = saleId === undefined ? tx`true` : tx`sale_id = ${saleId}`;
  const found = await tx<
    { deadLetterId: number; saleId: string; reason: string; createdAt: Date; isResolved: boolean }[]
  >`
    SELECT dead_letter_id, sale_id, reason, created_at, resolved_at IS NOT NULL AS is_resolved
    FROM dead_letters
    WHERE ${ofSale} AND created_at >= ${since} AND position(${`\t${requestId}\t`} IN payload) > 0
    LIMIT ${ROWS_MAX}`;
  return found.map(({ deadLetterId, saleId: sale, reason, createdAt, isResolved }) => ({
    at: createdAt,
    kind: 'dead letter',
    subject: sale,
    text: `number ${deadLetterId}, ${isResolved ? 'resolved' : 'NOT resolved'}: ${reason}`,
  }));
}
