/** The events that a webhook can be told of, as in src/domain/webhook.ts; a test compares them. */
export const WEBHOOK_EVENTS = [
  'reservation.reserved',
  'reservation.confirmed',
  'reservation.cancelled',
  'reservation.expired',
  'reservation.partly_cancelled',
  'reservation.changed',
  'sale.opened',
  'sale.sold_out',
  'sale.restocked',
  'sale.ended',
  'sku.sold_out',
  'sku.restocked',
];
