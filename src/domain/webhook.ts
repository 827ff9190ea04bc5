/**
 * Webhook events and their messages in the form of Standard Webhooks (`type`, `timestamp`, `data`). Delivery has no
 * guaranteed order, so a message contains the whole state at its time, and a reservation's message has its version.
 */
import {
  type Item,
  type PublicReservation,
  publicReservation,
  type ReservationEvent,
} from './reservation.ts';
import { availableOf, type SaleDefinition, type SaleStatus, type SkuStock } from './sale.ts';
import { cancelledItems, isAttachment, isPart, isWithdrawal } from './transition-detail.ts';

export const WEBHOOK_EVENTS = [
  /** Also when a hold was extended: the same reservation, a higher version, a later `expiresAt`. */
  'reservation.reserved',
  'reservation.confirmed',
  'reservation.cancelled',
  'reservation.expired',
  /** The same status, a higher version: a part of it was cancelled. */
  'reservation.partly_cancelled',
  /** The same status, a higher version: a payment was attached. */
  'reservation.changed',
  'sale.opened',
  'sale.sold_out',
  'sale.restocked',
  'sale.ended',
  /** Of one SKU, beside the events of its sale. */
  'sku.sold_out',
  'sku.restocked',
] as const;
export type WebhookEvent = (typeof WEBHOOK_EVENTS)[number];
type SaleWebhookEvent = Extract<WebhookEvent, `sale.${string}`>;
type SkuWebhookEvent = Extract<WebhookEvent, `sku.${string}`>;

/** What is announced of a whole sale, or of one SKU. */
export type Announcement = { type: SaleWebhookEvent } | { type: SkuWebhookEvent; sku: string };

export const DELIVERY_STATES = ['pending', 'delivered', 'dead'] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** A message for every endpoint that subscribes to its type. */
export interface WebhookMessage {
  /** `webhook-id`: derived from the event alone, so every process that makes the message makes the same id. */
  messageId: string;
  type: WebhookEvent;
  saleId: string;
  /** The body, as it is signed and sent. */
  payload: string;
}

export interface ReservationData {
  reservation: PublicReservation;
  /** 1 when reserved, one more for each transition: the message with the higher version is newer. */
  version: number;
  /** Only with a cancellation: the units that it took from the reservation. */
  cancelled?: readonly Item[];
  /** Only with a cancellation whose units left the sale. */
  restock?: false;
}

export interface SaleData {
  /** Only in events of a SKU. */
  sku?: string;
  sale: {
    saleId: string;
    name: string;
    status: SaleStatus;
    startsAt: string | null;
    endsAt: string | null;
    skus: { sku: string; remaining: number; soldOut: boolean }[];
  };
}

export function reservationEventType({
  status,
  detail,
}: Pick<ReservationEvent, 'status' | 'detail'>): WebhookEvent {
  // An endpoint that ships what is confirmed must not ship it twice.
  if (isPart({ status, detail })) return 'reservation.partly_cancelled';
  return isAttachment(detail) ? 'reservation.changed' : `reservation.${status}`;
}

/** The message for one version of a reservation. */
export function reservationMessage(event: ReservationEvent): WebhookMessage {
  const type = reservationEventType(event);
  const isCancellation = event.status === 'cancelled' || type === 'reservation.partly_cancelled';
  const data: ReservationData = {
    reservation: publicReservation(event),
    version: event.version,
    ...(isCancellation && { cancelled: cancelledItems(event) }),
    ...(isWithdrawal(event.detail) && { restock: false }),
  };
  return {
    messageId: `evt_${event.reservationId}_${event.version}`,
    type,
    saleId: event.saleId,
    payload: payloadOf(type, event.occurredAt, data),
  };
}

interface SeenSale {
  definition: SaleDefinition;
  stock: readonly SkuStock[];
  status: SaleStatus;
  atMs: number;
}

/** `number` counts the sale's announcements from 1. Times are milliseconds since the epoch. */
export function saleMessage(
  announcement: Announcement,
  number: number,
  { definition, stock, status, atMs }: SeenSale,
): WebhookMessage {
  const { type } = announcement;
  const data: SaleData = {
    ...('sku' in announcement ? { sku: announcement.sku } : {}),
    sale: {
      saleId: definition.saleId,
      name: definition.name,
      status,
      startsAt: isoTime(definition.startsAt),
      endsAt: isoTime(definition.endsAt),
      skus: stock.map((each) => ({
        sku: each.sku,
        remaining: availableOf(each),
        soldOut: availableOf(each) === 0,
      })),
    },
  };
  return {
    // Cannot equal a reservation's message id, which has a number in this position.
    messageId: `evt_${definition.saleId}_${type.replace('.', '-')}_${number}`,
    type,
    saleId: definition.saleId,
    payload: payloadOf(type, atMs, data),
  };
}

function payloadOf(type: WebhookEvent, atMs: number, data: ReservationData | SaleData): string {
  return JSON.stringify({ type, timestamp: isoTime(atMs), data });
}

function isoTime(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
