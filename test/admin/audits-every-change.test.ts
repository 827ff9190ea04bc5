/** Every operation of the admin that changes something leaves an audit record of its actor. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { makeDraft, newSale, TOKENS, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';

const admin = await useAdmin(FILE);

const ACTORS = { operator: actorOf('operator'), merchant: actorOf('merchant') };

/** An actor is the role of the token and the beginning of its digest. */
function actorOf(role: 'operator' | 'merchant'): string {
  const digest = createHash('sha256').update(TOKENS[role]).digest('hex');
  return `${role}:${digest.slice(0, 8)}`;
}

/** For each operation that changes something: prepares its resource and returns its request. */
const CHANGES: Record<string, () => Promise<{ request: string; body?: unknown }>> = {
  createSale: async () => ({ request: 'POST /sales', body: newSale() }),
  patchSale: async () => ({
    request: `PATCH /sales/${await makeDraft(admin)}`,
    body: { name: 'Other phones' },
  }),
  deleteSale: async () => ({ request: `DELETE /sales/${await makeDraft(admin)}` }),
  changeStock: async () => ({
    request: `POST /sales/${await makeDraft(admin)}/stock`,
    body: { sku: 'black', delta: 5, reason: 'found some' },
  }),
  openSale: async () => ({ request: `POST /sales/${await makeDraft(admin)}/open` }),
  pauseSale: async () => ({ request: `POST /sales/${await saleAfter('open')}/pause` }),
  resumeSale: async () => ({ request: `POST /sales/${await saleAfter('open', 'pause')}/resume` }),
  endSale: async () => ({ request: `POST /sales/${await saleAfter('open')}/end` }),
  archiveSale: async () => ({ request: `POST /sales/${await saleAfter('open', 'end')}/archive` }),
  recoverSale: async () => ({ request: `POST /sales/${await saleAfter('open')}/recover` }),
  retryDeadLetter: async () => ({ request: `POST /dead-letters/${await makeLetter(1)}/retry` }),
  discardDeadLetter: async () => ({
    request: `POST /dead-letters/${await makeLetter(2)}/discard`,
    body: { reason: 'cannot be repaired' },
  }),
  createWebhook: async () => ({ request: 'POST /webhooks', body: { url: WEBHOOK_URL } }),
  resumeWebhook: async () => ({ request: `POST /webhooks/${await makeWebhook()}/resume` }),
  rotateWebhookSecret: async () => ({
    request: `POST /webhooks/${await makeWebhook()}/rotate-secret`,
  }),
  deleteWebhook: async () => ({ request: `DELETE /webhooks/${await makeWebhook()}` }),
  retryWebhookDelivery: async () => {
    const webhookId = await makeWebhook();
    const [row] = await admin.sql<{ deliveryId: number }[]>`
      INSERT INTO webhook_deliveries
        (webhook_id, message_id, event_type, sale_id, payload, state, finished_at)
      VALUES (${webhookId}, 'evt_1', 'reservation.reserved', 'some', '{}', 'dead', now())
      RETURNING delivery_id`;
    return { request: `POST /webhooks/${webhookId}/deliveries/${row!.deliveryId}/retry` };
  },
};

/** Redis decides these, so the event itself is the audit record, also while PostgreSQL is unavailable. */
const TRANSITIONS = ['confirmReservation', 'cancelReservation', 'extendReservation'];

/** Only a buyer with reservations in archived sales can be erased; see archived-sales-keep-working.test.ts. */
const ELSEWHERE = ['eraseBuyer'];
/** It changes no data, and must work without PostgreSQL. Admin's log names who made a link. */
const UNAUDITED = ['createSignInLink'];

const WEBHOOK_URL = 'https://93.184.216.34/hook';

async function makeLetter(event: number): Promise<number> {
  const [row] = await admin.sql<{ deadLetterId: number }[]>`
    INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
    VALUES ('some', '1-1', ${event}, 'EUR', 'x', 'x') RETURNING dead_letter_id`;
  return row!.deadLetterId;
}

async function makeWebhook(): Promise<string> {
  return (await admin.call('POST /webhooks', { body: { url: WEBHOOK_URL } })).body.webhookId;
}

async function saleAfter(...actions: string[]): Promise<string> {
  const saleId = await makeDraft(admin);
  for (const action of actions) await admin.call(`POST /sales/${saleId}/${action}`);
  return saleId;
}

test('every operation in the OpenAPI document that changes something is tested here', async () => {
  const { body: document } = await admin.call('GET //openapi.json', { as: null });
  const changing = Object.entries<Record<string, { operationId: string }>>(document.paths)
    .filter(([path]) => path.startsWith('/admin/'))
    .flatMap(([, methods]) => Object.entries(methods))
    .filter(([method]) => method !== 'get')
    .map(([, { operationId }]) => operationId);
  const tested = [...Object.keys(CHANGES), ...TRANSITIONS, ...ELSEWHERE, ...UNAUDITED];
  assert.deepEqual(changing.sort(), tested.sort());
});

for (const [operation, prepare] of Object.entries(CHANGES)) {
  test(`${operation} records its actor and no token`, async () => {
    const { request, body } = await prepare();
    const requestId = `audit-of-${operation}`;
    const headers = { 'x-request-id': requestId };
    const response = await admin.call(request, { body, headers });
    assert.ok(response.status < 300, `${response.status} ${JSON.stringify(response.body)}`);
    const rows = await admin.sql<{ actor: string; action: string; details: object }[]>`
      SELECT actor, action, details FROM audit_log WHERE request_id = ${requestId}`;
    assert.equal(rows.length, 1);
    assert.equal(rows[0]!.actor, ACTORS.operator);
    assert.ok(!JSON.stringify(rows).includes(TOKENS.operator));
  });
}

test('a merchant transition is in the history of the reservation with its actor', async (t) => {
  await usePersister(t, admin.redis.url, admin.databaseUrl);
  const { saleId } = await makeSale(admin);
  for (const [index, operation] of TRANSITIONS.entries()) {
    const [reservation] = await hold(admin.shards, saleId, [`buyer-${index}`]);
    const { reservationId } = reservation!;
    const headers = { 'x-request-id': `audit-of-${operation}` };
    const request = `POST /reservations/${reservationId}/${operation.replace('Reservation', '')}`;
    const applied = await admin.call(request, { as: 'merchant', headers });
    assert.equal(applied.status, 200, operation);
    await eventually(async () => {
      const { body } = await admin.call(`GET /reservations/${reservationId}`);
      const last = body.history?.at(-1);
      assert.equal(last?.requestId, `audit-of-${operation}`);
      assert.equal(last.actor, ACTORS.merchant);
    });
  }
});

test('a rejected request, or one without effect, is not audited as a change', async () => {
  const saleId = await saleAfter('open');
  for (const [request, body] of [
    [`POST /sales/${saleId}/open`],
    [`POST /sales/${saleId}/resume`],
    [`DELETE /sales/${saleId}`],
    [`POST /sales/${saleId}/stock`, { sku: 'black', delta: -1_000 }],
  ] as const) {
    await admin.call(request, { body, headers: { 'x-request-id': 'changes-nothing' } });
  }
  const rows = await admin.sql<{ action: string }[]>`
    SELECT action FROM audit_log WHERE request_id = 'changes-nothing' ORDER BY audit_id`;
  // A withdrawal is recorded before Redis decides it, and its outcome afterwards.
  assert.deepEqual(
    rows.map(({ action }) => action),
    ['withdraw', 'insufficient_stock'],
  );
});
