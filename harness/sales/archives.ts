/** Sales that have ended and are archived, made by the admin's own routes. */
import assert from 'node:assert/strict';
import { makeDraft, type TestAdmin } from '../engine/admin.ts';
import { eventually } from '../eventually.ts';
import { hold } from './purchases.ts';
import { saleState } from './stream.ts';

/** Buyers of an ended sale by the final status of their reservations. */
export const BUYERS = { confirmed: 'ada', cancelled: 'ben', expired: 'cleo', refunded: 'dan' };

export interface EndedSale {
  saleId: string;
  /** Reservation ids by buyer. */
  ids: Record<string, string>;
}

/** A sale of 10 units with one reservation of each final status, ended by its operator, durable in PostgreSQL. */
export async function makeEndedSale(admin: TestAdmin): Promise<EndedSale> {
  const saleId = await makeDraft(admin, {
    // Long enough for the transitions below on a busy machine.
    holdSeconds: 3,
    skus: [{ sku: 'unit', name: 'A unit', price: 1_000, stock: 10 }],
  });
  await request(admin, `POST /sales/${saleId}/open`);
  const ids: Record<string, string> = {};
  for (const reservation of await hold(admin.shards, saleId, Object.values(BUYERS))) {
    ids[reservation.buyerId] = reservation.reservationId;
  }
  await request(admin, `POST /reservations/${ids.ada}/confirm`, { paymentRef: 'payment-of-ada' });
  await request(admin, `POST /reservations/${ids.dan}/confirm`);
  await request(admin, `POST /reservations/${ids.dan}/cancel`, { reason: 'dan wants it back' });
  await request(admin, `POST /reservations/${ids.ben}/cancel`);
  await request(admin, `POST /sales/${saleId}/end`);
  await untilSettled(admin, saleId);
  return { saleId, ids };
}

/** Waits until no hold is left, and PostgreSQL has every event. A persister must run. */
async function untilSettled(admin: TestAdmin, saleId: string): Promise<void> {
  await eventually(async () => {
    const { stock, events, drained } = await saleState(admin.shards, saleId);
    assert.equal(stock[0]!.held, 0);
    assert.equal(drained, events);
  });
}

export async function archive(admin: TestAdmin, saleId: string): Promise<void> {
  await request(admin, `POST /sales/${saleId}/archive`);
}

async function request(admin: TestAdmin, path: string, body?: unknown): Promise<void> {
  const response = await admin.call(path, body === undefined ? {} : { body });
  assert.equal(response.status, 200, `${path}: ${JSON.stringify(response.body)}`);
}
