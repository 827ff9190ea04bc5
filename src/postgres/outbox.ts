/**
 * The webhook outbox: messages are written in the transaction of their event, so both exist or neither.
 * docs/adr/0016-webhook-outbox.md says why it is not a job library.
 */
import { isRehearsal } from '../domain/rehearsal.ts';
import type { ReservationEvent } from '../domain/reservation.ts';
import {
  reservationEventType,
  reservationMessage,
  type WebhookMessage,
} from '../domain/webhook.ts';
import type { Transaction } from './connection.ts';

/** An endpoint that receives events of a sale. */
export interface Subscriber {
  /** Empty: all. */
  events: string[];
}

/** Includes paused endpoints, but no disabled ones. A rehearsal has none: shops would take its events for sales. */
export async function subscribersOf(
  transaction: Transaction,
  saleId: string,
): Promise<Subscriber[]> {
  if (isRehearsal(saleId)) return [];
  return transaction<Subscriber[]>`
    SELECT events FROM webhook_endpoints
    WHERE status = 'active' AND (sale_id IS NULL OR sale_id = ${saleId})`;
}

/** Only for events whose history row this transaction inserted: other events have their messages already. */
export async function enqueueReservations(
  transaction: Transaction,
  events: readonly { reservation: ReservationEvent }[],
  subscribers: readonly Subscriber[],
): Promise<void> {
  // Most sales have none, and the fields of an event are parsed when they are read.
  if (subscribers.length === 0) return;
  const received = events.filter(({ reservation }) =>
    subscribers.some((one) => receives(one, reservationEventType(reservation))),
  );
  const messages = received.map(({ reservation }) => reservationMessage(reservation));
  await enqueue(transaction, messages, subscribers);
}

/** One row for each message that an endpoint receives. Persisters make the deliveries from it, see webhooks/fan-out.ts. */
export async function enqueue(
  transaction: Transaction,
  messages: readonly WebhookMessage[],
  subscribers: readonly Subscriber[],
): Promise<void> {
  const rows = messages.filter(({ type }) => subscribers.some((one) => receives(one, type)));
  if (rows.length === 0) return;
  await transaction`
    INSERT INTO webhook_messages (message_id, event_type, sale_id, payload)
    SELECT * FROM unnest(
      ${rows.map((row) => row.messageId)}::text[],
      ${rows.map((row) => row.type)}::text[],
      ${rows.map((row) => row.saleId)}::text[],
      ${rows.map((row) => row.payload)}::text[])`;
}

function receives({ events }: Subscriber, type: string): boolean {
  return events.length === 0 || events.includes(type);
}
