/** `flash-sale trace` follows one request id from the decision in Redis to the row, the webhook and later decisions. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { useWebhookPersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { useReceiver } from '../../harness/network/webhook-receiver.ts';
import { applyTransition } from '../../harness/sales/reservations.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { statesOf, subscribe, useEngine } from '../../harness/sales/webhooks.ts';
import { FILE } from '../../harness/use.ts';
import { runTrace } from '../../src/cli/trace/trace.ts';
import { Fault } from '../../src/domain/fault.ts';

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

const engine = await useEngine(FILE);
Object.assign(process.env, { REDIS_URL: engine.redisUrl, DATABASE_URL: engine.databaseUrl });
const hotPath = await useHotPath(FILE, engine.redisUrl);
const { saleId } = await makeSale(engine);

async function trace(t: TestContext, requestId: string, options: object = {}) {
  const lines: string[] = [];
  const keep = (line: string) => void lines.push(line);
  const mocks = [t.mock.method(console, 'log', keep), t.mock.method(console, 'error', keep)];
  const isFound = await runTrace(requestId, { since: '1h', json: false, ...options });
  for (const { mock } of mocks) mock.restore();
  return { isFound, text: lines.join('\n') };
}

test('a request is followed from the stream to the row, the webhook and what came later', async (t) => {
  const receiver = await useReceiver(t);
  const webhookId = await subscribe(engine.sql, `${receiver.url}?token=not-for-the-terminal`);
  const headers = { 'x-request-id': 'web-1', traceparent: TRACEPARENT };
  const { body: reservation } = await hotPath.buy(saleId, 'ada', { headers });
  const { reservationId } = reservation;

  const early = await trace(t, 'web-1');
  assert.equal(early.isFound, true);
  assert.match(early.text, /^request web-1\ntraceparent 00-4bf92f/);
  assert.match(early.text, new RegExp(`stream +${reservationId} .*not in PostgreSQL yet$`, 'm'));

  await useWebhookPersister(t, engine);
  await eventually(async () => {
    const { delivered = 0 } = await statesOf(engine.sql, webhookId);
    assert.ok(receiver.ids().includes(`evt_${reservationId}_1`) && delivered > 0);
  });
  await applyTransition(engine.shards, reservation, 'confirm');
  const late = await eventually(async () => {
    const printed = await trace(t, 'web-1', { sale: saleId });
    assert.match(
      printed.text,
      /reservation\.confirmed, version 2, by request request-of-confirm$/m,
    );
    return printed.text;
  });
  assert.match(
    late,
    /\+0\.000 s +decision +\S+ +reservation\.reserved, event 1 of the sale, version 1$/m,
  );
  assert.match(late, /row +\S+ +durable in PostgreSQL: buyer ada, position 1;/);
  assert.match(
    late,
    new RegExp(
      `webhook +evt_${reservationId}_1 +reservation\\.reserved to ${webhookId}: delivered after 1 attempt \\(204\\)$`,
      'm',
    ),
  );
  assert.doesNotMatch(late, /stream|not-for-the-terminal/);

  const confirmation = JSON.parse((await trace(t, 'request-of-confirm', { json: true })).text);
  assert.deepEqual(
    confirmation.moments.map(({ kind, subject }: Record<string, string>) => [kind, subject])[0],
    ['decision', reservationId],
  );
  const { isFound, text } = await trace(t, 'test');
  assert.ok(
    isFound && /sale operation +\S+ +create, number 1, by test: applied in Redis at/.test(text),
  );
});

test('an id that nothing has is reported as not found', async (t) => {
  for (const options of [{}, { sale: saleId }, { sale: 'none' }]) {
    const { isFound, text } = await trace(t, 'web-404', options);
    assert.equal(isFound, false);
    assert.match(text, /^Nothing was found of request web-404 since /);
  }
});

test('without Redis the output says so', async (t) => {
  process.env.REDIS_URL = 'redis://127.0.0.1:1';
  t.after(() => {
    process.env.REDIS_URL = engine.redisUrl;
  });
  const { isFound, text } = await trace(t, 'test');
  assert.equal(isFound, true);
  assert.match(text, /note: Redis was not read: /);
});

test('wrong arguments are rejected with the reason', async () => {
  const rejects = (requestId: string, options: { sale?: string; since: string }, says: RegExp) =>
    assert.rejects(
      runTrace(requestId, { json: false, ...options }),
      (error) => error instanceof Fault && says.test(error.message),
    );
  await rejects('two words', { since: '1h' }, /request id/);
  await rejects('web-1', { sale: 'Not A Sale', since: '1h' }, /id of a sale/);
  await rejects('web-1', { since: 'yesterday' }, /duration/);
});
