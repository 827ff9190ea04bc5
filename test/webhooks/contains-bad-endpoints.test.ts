/** Events of a failing endpoint are retried, and the endpoint does not delay events of others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { useWebhookPersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import {
  OK,
  type Receiver,
  type Responder,
  SECRET,
  status,
  useReceiver,
} from '../../harness/network/webhook-receiver.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import {
  deliveriesOf,
  endpointOf,
  expectedIds,
  statesOf,
  subscribe,
  useEngine,
} from '../../harness/sales/webhooks.ts';
import { SELF_SIGNED } from '../../harness/servers/certificates.ts';
import { FILE, use } from '../../harness/use.ts';
import { Sender } from '../../src/persister/webhooks/send.ts';
import { FAILURES_MAX } from '../../src/persister/webhooks/settle.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const RESERVED = { events: ['reservation.reserved'] };
const IMPATIENT = { webhooks: { timeoutMs: 700, leaseMs: 2_000 } };

const engine = await useEngine(FILE);

describe('an endpoint', () => {
  afterEach(async () => {
    await engine.sql`DELETE FROM webhook_endpoints`;
  });

  async function sell(count: number): Promise<string> {
    const { saleId } = await makeSale(engine);
    await buyMany(engine.shards, saleId, { count, batchSize: 50 });
    return saleId;
  }

  /** Sends one event to an endpoint that responds as given first, and with success later. */
  async function failsFirst(
    test: Parameters<typeof useWebhookPersister>[0],
    respond: Responder,
    choices: Parameters<typeof useWebhookPersister>[2] = {},
  ): Promise<{ receiver: Receiver; firstError: string | null }> {
    const receiver = await useReceiver(test, respond);
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine, choices);
    await sell(1);
    const { lastError } = await eventually(async () => {
      const endpoint = await endpointOf(engine.sql, webhookId);
      assert.ok(endpoint.lastError);
      return endpoint;
    });
    receiver.respond = OK;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 1 }),
    );
    assert.ok(receiver.received.length >= 2);
    assert.equal(receiver.ids().length, 1, 'every attempt has the same id');
    return { receiver, firstError: lastError };
  }

  it('that responds with 500 gets the same message again', async (test) => {
    assert.equal((await failsFirst(test, status(500))).firstError, 'responded 500');
  });

  it('that never responds times out', async (test) => {
    const { firstError, receiver } = await failsFirst(test, () => undefined, IMPATIENT);
    assert.equal(firstError, 'no response within 700 ms');
    const [first, second] = receiver.received;
    // The first may arrive late.
    assert.ok(second!.atMs - first!.atMs >= 350);
  });

  it('that sends its response headers slowly times out', async (test) => {
    const { firstError } = await failsFirst(test, dripHead, IMPATIENT);
    assert.equal(firstError, 'no response within 700 ms');
  });

  it('that closes the connection gets the message again', async (test) => {
    const { firstError } = await failsFirst(test, (response) => response.socket?.destroy());
    assert.match(firstError ?? '', /socket hang up|closed/);
  });

  it('that redirects is not followed', async (test) => {
    const elsewhere = await useReceiver(test, OK);
    const { firstError } = await failsFirst(test, status(307, { Location: elsewhere.url }));
    assert.equal(firstError, 'responded 307; redirects are not followed');
    assert.equal(elsewhere.connections, 0);
  });

  it('that refuses connections is retried', async (test) => {
    const [port] = await findFreePorts(1);
    const webhookId = await subscribe(engine.sql, `http://127.0.0.1:${port}/`, RESERVED);
    await useWebhookPersister(test, engine);
    await sell(1);
    await eventually(async () => {
      const { lastError, failuresInRow } = await endpointOf(engine.sql, webhookId);
      assert.match(lastError ?? '', /ECONNREFUSED/);
      assert.ok(failuresInRow > 2);
    });
  });

  it('that sends a huge or endless body has accepted the event by its status', async (test) => {
    let sent = 0;
    const receivers = [
      await useReceiver(
        test,
        tenMegabytes((bytes) => (sent += bytes)),
      ),
      await useReceiver(test, dripBody),
    ];
    const webhookIds = await Promise.all(
      receivers.map(({ url }) => subscribe(engine.sql, url, RESERVED)),
    );
    await useWebhookPersister(test, engine);
    await sell(5);
    for (const webhookId of webhookIds) {
      await eventually(async () =>
        assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 5 }),
      );
    }
    for (const receiver of receivers) assert.equal(receiver.received.length, 5);
    // The kernel buffers some of the bytes, which the engine does not read.
    assert.ok(sent < 5 * 8_000_000, `${sent} bytes of 50 MB were taken`);
  });

  it('that never responds does not delay others, and is paused', async (test) => {
    // Long enough for a busy machine to deliver to the healthy endpoint first.
    const timeoutMs = 12_000;
    const hanging = await useReceiver(test, () => undefined);
    const healthy = await useReceiver(test, OK);
    const hangingIds = await Promise.all(
      Array.from({ length: 4 }, (_, index) =>
        subscribe(engine.sql, `${hanging.url}/${index}`, RESERVED),
      ),
    );
    const healthyId = await subscribe(engine.sql, healthy.url, RESERVED);
    const running = await useWebhookPersister(test, engine, {
      webhooks: { timeoutMs, leaseMs: 2 * timeoutMs },
    });
    const startMs = performance.now();
    const saleId = await sell(200);
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, healthyId), { delivered: 200 }),
    );
    assert.ok(performance.now() - startMs < timeoutMs, 'before the first timeout of the others');
    assert.deepEqual(healthy.ids(), await expectedIds(engine.sql, saleId));
    for (const webhookId of hangingIds) {
      const paused = await eventually(async () => {
        const endpoint = await endpointOf(engine.sql, webhookId);
        assert.ok(endpoint.pausedUntil);
        return endpoint;
      });
      assert.equal(paused.lastError, `no response within ${timeoutMs} ms`);
      assert.ok(paused.failuresInRow >= FAILURES_MAX);
    }
    const metrics = await fetch(`http://127.0.0.1:${running.port}/metrics`);
    assert.match(
      await metrics.text(),
      /webhook_attempts_total\{outcome="delivered",process="persister"\} 200/,
    );
  });

  it('that keeps failing is paused for longer each time, and gets every event when it works again', async (test) => {
    const receiver = await useReceiver(test, status(500));
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine);
    const saleId = await sell(50);
    await eventually(async () => {
      assert.ok((await endpointOf(engine.sql, webhookId)).pausesInRow >= 3);
    });
    const tries = receiver.received.length;
    // The first 25 were in flight together, later ones one at a time. Five failures in a row pause the endpoint.
    assert.ok(tries <= 35, `${tries} attempts for 50 messages`);
    receiver.respond = OK;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 50 }),
    );
    assert.deepEqual(receiver.ids(), await expectedIds(engine.sql, saleId));
    const { pausedUntil, failuresInRow, pausesInRow } = await endpointOf(engine.sql, webhookId);
    assert.deepEqual([pausedUntil, failuresInRow, pausesInRow], [null, 0, 0]);
  });

  it('that responds with 410 is disabled, and its pending deliveries are dead', async (test) => {
    const receiver = await useReceiver(test, status(410));
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine);
    await sell(30);
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { dead: 30 }),
    );
    const { status: state, lastError } = await endpointOf(engine.sql, webhookId);
    assert.deepEqual([state, lastError], ['disabled', 'responded 410, gone']);
    assert.ok(receiver.received.length <= 25, 'only those in flight were sent');
    const saleId = await sell(3);
    await eventually(async () => assert.equal((await expectedIds(engine.sql, saleId)).length, 3));
    assert.deepEqual(await statesOf(engine.sql, webhookId), { dead: 30 }, 'nothing new is written');
  });

  it('that fails until the end of the retries gets the event no more, unless an operator retries it', async (test) => {
    const receiver = await useReceiver(test, status(503));
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine);
    await sell(2);
    await eventually(async () => {
      const attempted = (await deliveriesOf(engine.sql, webhookId)).filter(
        ({ attempts }) => attempts > 0,
      );
      assert.equal(attempted.length, 2);
    });
    await engine.sql`UPDATE webhook_deliveries SET give_up_at = now() WHERE webhook_id = ${webhookId}`;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { dead: 2 }),
    );
    receiver.respond = OK;
    const [first] = await deliveriesOf(engine.sql, webhookId);
    // As retry and resume of the admin do.
    await engine.sql`
      UPDATE webhook_deliveries SET state = 'pending', due_at = now(), attempts = 0, finished_at = NULL,
        give_up_at = now() + interval '24 hours' WHERE delivery_id = ${first!.deliveryId}`;
    await engine.sql`UPDATE webhook_endpoints SET paused_until = NULL WHERE webhook_id = ${webhookId}`;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 1, dead: 1 }),
    );
  });

  it('is removed with its deliveries after its deletion, and old deliveries are removed', async (test) => {
    const [deleted, kept] = [
      await subscribe(engine.sql, 'http://127.0.0.1:1/'),
      await subscribe(engine.sql, 'http://127.0.0.1:1/', RESERVED),
    ];
    const add = (webhookId: string, state: string, days: number) => engine.sql`
      INSERT INTO webhook_deliveries (webhook_id, message_id, event_type, sale_id, payload, state, finished_at)
      VALUES (${webhookId}, ${`${state}-${days}`}, 'sale.ended', 'some', '{}', ${state},
        now() - ${`${days} days`}::text::interval)`;
    for (const [state, days] of [
      ['delivered', 8],
      ['delivered', 6],
      ['dead', 8],
      ['dead', 31],
    ] as const) {
      await add(kept, state, days);
      await add(deleted, state, days);
    }
    await engine.sql`
      UPDATE webhook_endpoints SET status = 'deleted', updated_at = now() - interval '2 hours'
      WHERE webhook_id = ${deleted}`;
    await useWebhookPersister(test, engine);
    await eventually(async () => {
      const left = (await deliveriesOf(engine.sql, kept)).map(({ messageId }) => messageId);
      assert.deepEqual(left, ['delivered-6', 'dead-8']);
      assert.deepEqual(await deliveriesOf(engine.sql, deleted), []);
      const rows = await engine.sql`
        SELECT FROM webhook_endpoints WHERE webhook_id = ${deleted}`;
      assert.equal(rows.length, 0);
    });
  });
});

describe('an attempt', () => {
  const message = { secrets: [SECRET], messageId: 'evt_1', payload: '{}' };
  const never = new AbortController().signal;

  it('in production does not connect to an address that is not public', async (test) => {
    const receiver = await useReceiver(test);
    const sender = await use(test, () => new Sender({ isDevelopment: false }, 2_000));
    const port = new URL(receiver.url).port;
    for (const [host, error] of [
      ['localhost', /not public|ENOTFOUND/],
      ['127.0.0.1', /must lead to a public address/],
      ['[::1]', /must lead to a public address/],
    ] as const) {
      const sent = await sender.send({ ...message, url: `https://${host}:${port}/` }, never);
      assert.equal(sent.outcome, 'failed');
      assert.match(sent.error ?? '', error);
    }
    const plain = await sender.send({ ...message, url: 'http://example.com/' }, never);
    assert.match(plain.error ?? '', /https/);
    assert.equal(receiver.connections, 0);
  });

  it('sends nothing to a server whose certificate is not trusted', async (test) => {
    let requests = 0;
    const server = await use(test, () =>
      createServer(SELF_SIGNED, (_request, response) => {
        requests += 1;
        response.end();
      }).listen(0, '127.0.0.1'),
    );
    await once(server, 'listening');
    const sender = await use(test, () => new Sender({ isDevelopment: true }, 2_000));
    const { port } = server.address() as AddressInfo;
    const sent = await sender.send({ ...message, url: `https://localhost:${port}/` }, never);
    assert.match(sent.error ?? '', /self-signed/);
    assert.equal(requests, 0);
  });

  it('makes a new connection when a kept one was closed', async (test) => {
    const receiver = await useReceiver(test, (response) => {
      response.writeHead(204).end();
      setTimeout(() => response.socket?.destroy(), 20);
    });
    const sender = await use(test, () => new Sender({ isDevelopment: true }, 2_000));
    for (let i = 0; i < 20; i++) {
      const sent = await sender.send({ ...message, url: receiver.url }, never);
      assert.deepEqual(sent, { outcome: 'delivered', status: 204, error: null });
      await new Promise((resolve) => setTimeout(resolve, 10 + i));
    }
  });
});

function dripHead(response: ServerResponse): void {
  const socket = response.socket!;
  socket.write('HTTP/1.1 200 OK\r\n');
  const timer = setInterval(() => socket.write('X-Drip: drop\r\n'), 20);
  socket.once('close', () => clearInterval(timer));
}

function dripBody(response: ServerResponse): void {
  response.writeHead(200);
  const timer = setInterval(() => response.write('.'), 20);
  response.once('close', () => clearInterval(timer));
}

function tenMegabytes(onSent: (bytes: number) => void): Responder {
  const chunk = Buffer.alloc(100_000);
  return (response) => {
    response.writeHead(200);
    let left = 100;
    const more = (): void => {
      while (left > 0 && !response.destroyed) {
        left -= 1;
        onSent(chunk.length);
        if (!response.write(chunk)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  };
}
