/**
 * The outbox: what is to be sent, written in the transaction of the event itself, so that an event and its deliveries
 * are there together or not at all.
 *
 * It is a table of our own and no job library's. graphile-worker takes no driver but node-postgres, for which it would
 * hold a second pool; jobs of a worker that was killed stay locked for four hours; and its backoff has no jitter.
 * pg-boss can write jobs by any driver, in our transaction. But its job would be a second row beside the delivery that
 * operators list, filter and send again, with a state of its own to be kept in step. A paused endpoint's jobs cannot be
 * held back: each would be fetched and failed, which uses up its tries, or each endpoint would be a queue that every
 * process polls. What would be left to it is one `SKIP LOCKED` query (claim.ts), for a second migration mechanism,
 * a second driver in the dependencies and its own maintenance loops.
 */

import {
  reservationEventType,
  reservationMessage,
  type WebhookMessage,
} from '../../domain/webhook.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { StreamEvent } from '../stream/entries.ts';

/** An endpoint, as far as it matters to what is written for it. */
export interface Subscriber {
  webhookId: string;
  /** Empty: all. */
  events: string[];
}

/** Who wants to hear of a sale. A paused one does too, a disabled one does not. */
export async function subscribersOf(
  transaction: Transaction,
  saleId: string,
): Promise<Subscriber[]> {
  return transaction<Subscriber[]>`
    SELECT webhook_id, events FROM webhook_endpoints
    WHERE status = 'active' AND (sale_id IS NULL OR sale_id = ${saleId})`;
}

/** Only for events whose history row this transaction inserted: of any other, the deliveries are there already. */
export async function enqueueReservations(
  transaction: Transaction,
  events: readonly StreamEvent[],
  subscribers: readonly Subscriber[],
): Promise<void> {
  const wanted = events.filter(({ reservation }) =>
    subscribers.some((one) => wants(one, reservationEventType(reservation.status))),
  );
  const messages = wanted.map(({ reservation }) => reservationMessage(reservation));
  await enqueue(transaction, messages, subscribers);
}

export async function enqueue(
  transaction: Transaction,
  messages: readonly WebhookMessage[],
  subscribers: readonly Subscriber[],
): Promise<void> {
  const rows = subscribers.flatMap((subscriber) =>
    messages
      .filter(({ type }) => wants(subscriber, type))
      .map((message) => ({ ...message, webhookId: subscriber.webhookId })),
  );
  if (rows.length === 0) return;
  await transaction`
    INSERT INTO webhook_deliveries (webhook_id, message_id, event_type, sale_id, payload)
    SELECT * FROM unnest(
      ${rows.map((row) => row.webhookId)}::text[],
      ${rows.map((row) => row.messageId)}::text[],
      ${rows.map((row) => row.type)}::text[],
      ${rows.map((row) => row.saleId)}::text[],
      ${rows.map((row) => row.payload)}::text[])`;
}

function wants({ events }: Subscriber, type: string): boolean {
  return events.length === 0 || events.includes(type);
}
