/** Operators create, list and delete webhook endpoints. A secret is shown once, at creation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callAdmin, makeDraft, useAdmin, useApp } from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';
import { EARLIER_SECRETS_MAX, WEBHOOKS_MAX } from '../../src/admin/webhooks/webhook-store.ts';

const admin = await useAdmin(FILE);

const URL_PUBLIC = 'https://93.184.216.34/hook?token=abc';

async function makeWebhook(body: Record<string, unknown> = {}) {
  const created = await admin.call('POST /webhooks', { body: { url: URL_PUBLIC, ...body } });
  assert.equal(created.status, 201, JSON.stringify(created.body));
  return created.body;
}

/** Inserts deliveries as the persister leaves them. Returns their ids. */
async function addDeliveries(webhookId: string, states: readonly string[]): Promise<number[]> {
  const ids: number[] = [];
  for (const [index, state] of states.entries()) {
    const [row] = await admin.sql<{ deliveryId: number }[]>`
      INSERT INTO webhook_deliveries
        (webhook_id, message_id, event_type, sale_id, payload, state, attempts, due_at, finished_at)
      VALUES (${webhookId}, ${`evt_${index}`}, 'reservation.reserved', 'some', '{}', ${state}, 7,
        now() + interval '1 hour', ${state === 'pending' ? null : new Date()})
      RETURNING delivery_id`;
    ids.push(row!.deliveryId);
  }
  return ids;
}

test('the secret is shown only at creation', async () => {
  const saleId = await makeDraft(admin);
  const created = await makeWebhook({ saleId, description: 'Warehouse' });
  assert.match(created.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  assert.equal(created.state, 'active');
  assert.equal(created.events, null);

  const listed = await admin.call('GET /webhooks');
  const resumed = await admin.call(`POST /webhooks/${created.webhookId}/resume`);
  const audit = await admin.call(`GET /sales/${saleId}/audit`);
  for (const { status, body } of [listed, resumed, audit]) {
    assert.equal(status, 200);
    assert.ok(!JSON.stringify(body).includes('whsec_'));
    assert.ok(!JSON.stringify(body).includes(created.secret.slice(6)));
  }
  const entries = audit.body.data.map((entry: { action: string }) => entry.action);
  assert.deepEqual(entries, ['resume-webhook', 'create-webhook', 'create']);
  assert.ok(!JSON.stringify(audit.body).includes('token=abc'), 'viewers read the audit');
});

test('a rotated secret is shown once, and earlier ones sign for 24 hours, also after a repeated request', async () => {
  const saleId = await makeDraft(admin);
  const { webhookId, secret, earlierSecretsUntil } = await makeWebhook({ saleId });
  assert.equal(earlierSecretsUntil, null);
  const rotate = () => admin.call(`POST /webhooks/${webhookId}/rotate-secret`);
  const secrets = [secret];
  for (let rotation = 0; rotation < EARLIER_SECRETS_MAX; rotation++) {
    const rotated = await rotate();
    assert.equal(rotated.status, 200, JSON.stringify(rotated.body));
    assert.equal(rotated.headers['cache-control'], 'no-store');
    assert.match(rotated.body.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
    const hours = (Date.parse(rotated.body.earlierSecretsUntil) - Date.now()) / 3_600_000;
    assert.ok(hours > 23.9 && hours <= 24.1, `${hours}`);
    secrets.unshift(rotated.body.secret);
  }
  assert.equal(new Set(secrets).size, secrets.length);
  const stored = async () => {
    const [row] = await admin.sql<{ secret: string; earlierSecrets: { secret: string }[] }[]>`
      SELECT secret, earlier_secrets FROM webhook_endpoints WHERE webhook_id = ${webhookId}`;
    return [row!.secret, ...row!.earlierSecrets.map((earlier) => earlier.secret)];
  };
  assert.deepEqual(await stored(), secrets);
  const refused = await rotate();
  assert.deepEqual([refused.status, refused.body.code], [409, 'invalid_transition']);
  assert.deepEqual(await stored(), secrets, 'nothing was changed');

  const audit = await admin.call(`GET /sales/${saleId}/audit`);
  assert.equal(audit.body.data[0].action, 'rotate-webhook-secret');
  for (const { body } of [audit, await admin.call('GET /webhooks'), refused]) {
    for (const one of secrets) assert.ok(!JSON.stringify(body).includes(one.slice(6)));
  }
  assert.equal((await admin.call(`DELETE /webhooks/${webhookId}`)).status, 204);
  assert.deepEqual(await stored(), ['']);
  assert.equal((await rotate()).status, 404);
});

test('every endpoint has its own secret', async () => {
  const [one, other] = [await makeWebhook(), await makeWebhook()];
  assert.notEqual(one.secret, other.secret);
});

test('endpoints are listed newest first, in pages, until they are deleted', async () => {
  const made: string[] = [];
  for (let i = 0; i < 5; i++) made.unshift((await makeWebhook()).webhookId);
  const seen: string[] = [];
  let cursor: string | null = '';
  while (cursor !== null && seen.length < 5) {
    const page = await admin.call(`GET /webhooks?limit=2${cursor && `&cursor=${cursor}`}`);
    seen.push(...page.body.data.map((row: { webhookId: string }) => row.webhookId));
    cursor = page.body.nextCursor;
  }
  assert.deepEqual(seen.slice(0, 5), made);

  assert.equal((await admin.call(`DELETE /webhooks/${made[0]}`)).status, 204);
  assert.equal((await admin.call(`DELETE /webhooks/${made[0]}`)).status, 404);
  assert.equal((await admin.call(`POST /webhooks/${made[0]}/resume`)).status, 404);
  assert.equal((await admin.call(`GET /webhooks/${made[0]}/deliveries`)).status, 404);
  const rest = await admin.call('GET /webhooks');
  assert.equal(rest.body.data[0].webhookId, made[1]);
  const [row] = await admin.sql`
    SELECT secret, url FROM webhook_endpoints WHERE webhook_id = ${made[0]!}`;
  assert.deepEqual({ ...row }, { secret: '', url: '' });
});

test('deliveries are listed by state, in pages', async () => {
  const { webhookId } = await makeWebhook();
  const ids = await addDeliveries(webhookId, ['dead', 'delivered', 'pending', 'dead', 'dead']);
  const list = async (query: string) => {
    const response = await admin.call(`GET /webhooks/${webhookId}/deliveries${query}`);
    assert.equal(response.status, 200, JSON.stringify(response.body));
    return response.body;
  };
  const idsOf = (page: { data: { deliveryId: number }[] }) =>
    page.data.map(({ deliveryId }) => deliveryId);
  assert.deepEqual(idsOf(await list('')), ids.toReversed());
  const first = await list('?state=dead&limit=2');
  assert.deepEqual(idsOf(first), [ids[4], ids[3]]);
  const second = await list(`?state=dead&limit=2&cursor=${first.nextCursor}`);
  assert.deepEqual(idsOf(second), [ids[0]]);
  assert.equal(second.nextCursor, null);
  const [webhook] = (await admin.call('GET /webhooks')).body.data;
  assert.deepEqual([webhook.pending, webhook.dead], [1, 3]);
});

test('a dead or failed delivery can be retried, a delivered one cannot', async () => {
  const { webhookId } = await makeWebhook();
  const [dead, pending, delivered] = await addDeliveries(webhookId, [
    'dead',
    'pending',
    'delivered',
  ]);
  const retry = (id: number | string | undefined) =>
    admin.call(`POST /webhooks/${webhookId}/deliveries/${id}/retry`);
  for (const id of [dead, pending]) {
    const { status, body } = await retry(id);
    assert.equal(status, 202);
    assert.equal(body.state, 'pending');
    assert.equal(body.attempts, 0);
    assert.equal(body.finishedAt, null);
    assert.ok(Date.parse(body.nextAttemptAt) <= Date.now() + 1_000);
  }
  const refused = await retry(delivered);
  assert.equal(refused.status, 409);
  assert.equal(refused.body.code, 'invalid_transition');
  for (const id of ['999999999', 'no-number', '0']) assert.equal((await retry(id)).status, 404);

  const other = await makeWebhook();
  const elsewhere = await admin.call(
    `POST /webhooks/${other.webhookId}/deliveries/${delivered}/retry`,
  );
  assert.equal(elsewhere.status, 404, 'another endpoint’s delivery');
  await admin.sql`
    UPDATE webhook_endpoints SET status = 'disabled' WHERE webhook_id = ${webhookId}`;
  assert.equal((await retry(dead)).status, 409, 'nothing is sent to a disabled endpoint');
});

test('a paused endpoint shows the reason and the end of the pause, and can be resumed', async () => {
  const { webhookId } = await makeWebhook();
  await addDeliveries(webhookId, ['pending']);
  await admin.sql`
    UPDATE webhook_endpoints SET paused_until = now() + interval '1 hour', failures_in_row = 9,
      last_error = 'responded 500', last_failure_at = now() WHERE webhook_id = ${webhookId}`;
  const [paused] = (await admin.call('GET /webhooks?limit=1')).body.data;
  assert.equal(paused.state, 'paused');
  assert.equal(paused.failuresInRow, 9);
  assert.equal(paused.lastError, 'responded 500');
  assert.ok(Date.parse(paused.pausedUntil) > Date.now());

  const resumed = await admin.call(`POST /webhooks/${webhookId}/resume`);
  assert.equal(resumed.body.state, 'active');
  assert.equal(resumed.body.pausedUntil, null);
  assert.equal(resumed.body.failuresInRow, 0);
  const [delivery] = (await admin.call(`GET /webhooks/${webhookId}/deliveries`)).body.data;
  assert.ok(Date.parse(delivery.nextAttemptAt) <= Date.now() + 1_000, 'what waited is due');
});

test('invalid requests are rejected with the field', async () => {
  const refusals: [Record<string, unknown>, string][] = [
    [{}, 'url'],
    [{ url: 7 }, 'url'],
    [{ url: 'https://93.184.216.34/', events: [] }, 'events'],
    [{ url: 'https://93.184.216.34/', events: ['sale.burnt'] }, 'events.0'],
    [{ url: 'https://93.184.216.34/', saleId: 'Not a sale' }, 'saleId'],
    [{ url: 'https://93.184.216.34/', secret: 'mine' }, 'secret'],
    [{ url: `https://93.184.216.34/${'x'.repeat(2_000)}` }, 'url'],
    [{ url: 'https://127.0.0.1/' }, 'url'],
    [{ url: 'http://93.184.216.34/' }, 'url'],
    [{ url: 'https://localhost/' }, 'url'],
  ];
  for (const [body, field] of refusals) {
    const { status, body: problem } = await admin.call('POST /webhooks', { body });
    assert.equal(status, 422, JSON.stringify(body));
    assert.equal(problem.errors[0].field, field);
  }
  const unknown = await admin.call('POST /webhooks', { body: { url: URL_PUBLIC, saleId: 'none' } });
  assert.equal(unknown.body.code, 'sale_not_found');
  assert.equal((await admin.call('GET /webhooks?cursor=x')).status, 422);
  const { webhookId } = await makeWebhook();
  assert.equal((await admin.call(`GET /webhooks/${webhookId}/deliveries?cursor=x`)).status, 422);
});

test('development allows receivers on this machine', async (t) => {
  const app = await useApp(t, admin, { isDevelopment: true });
  const body = { url: 'http://127.0.0.1:4000/hook' };
  assert.equal((await callAdmin(app, 'POST /webhooks', { body })).status, 201);
  const refused = await callAdmin(app, 'POST /webhooks', { body: { url: 'file:///etc/passwd' } });
  assert.equal(refused.status, 422);
});

test('the number of endpoints is bounded, and deleting one makes room', async () => {
  const { webhookId } = await makeWebhook();
  await admin.sql`
    INSERT INTO webhook_endpoints (webhook_id, url, secret)
    SELECT 'wh_filler_' || n, ${URL_PUBLIC}, 'whsec_' FROM generate_series(1, (
      SELECT ${WEBHOOKS_MAX}::bigint - count(*) FROM webhook_endpoints WHERE status <> 'deleted')) AS n`;
  const refused = await admin.call('POST /webhooks', { body: { url: URL_PUBLIC } });
  assert.deepEqual([refused.status, refused.body.code], [409, 'too_many_webhooks']);
  assert.equal((await admin.call(`DELETE /webhooks/${webhookId}`)).status, 204);
  await makeWebhook();
});
