/** Whatever an endpoint does, its events are tried again and nobody else's are held up. */
import assert from 'node:assert/strict';
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
  startReceiver,
  status,
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
import { FILE } from '../../harness/use.ts';
import { FAILURES_MAX } from '../../src/persister/webhooks/breaker.ts';
import { Sender } from '../../src/persister/webhooks/send.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const RESERVED = { events: ['reservation.reserved'] };

const engine = await useEngine(FILE);

describe('an endpoint', () => {
  const receivers: Receiver[] = [];

  afterEach(async () => {
    await engine.sql`DELETE FROM webhook_endpoints`;
    await Promise.all(receivers.splice(0).map((receiver) => receiver.close()));
  });

  async function receiverThat(answer: Responder): Promise<Receiver> {
    const receiver = await startReceiver(answer);
    receivers.push(receiver);
    return receiver;
  }

  async function sell(count: number): Promise<string> {
    const { saleId } = await makeSale(engine);
    await buyMany(engine.shards, saleId, { count, batchSize: 50 });
    return saleId;
  }

  /** One event to an endpoint that does this first and answers well after that. */
  async function failsFirst(
    test: Parameters<typeof useWebhookPersister>[0],
    answer: Responder,
  ): Promise<{ receiver: Receiver; firstError: string | null }> {
    const receiver = await receiverThat(answer);
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine);
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
    assert.equal(receiver.ids().length, 1, 'every try has the same id');
    return { receiver, firstError: lastError };
  }

  it('that answers 500 gets the same message again', async (test) => {
    assert.equal((await failsFirst(test, status(500))).firstError, 'responded 500');
  });

  it('that never answers is left after its time', async (test) => {
    const { firstError, receiver } = await failsFirst(test, () => undefined);
    assert.equal(firstError, 'no response within 700 ms');
    const [first, second] = receiver.received;
    assert.ok(second!.atMs - first!.atMs >= 690);
  });

  it('that drips its answer’s head is left after its time', async (test) => {
    const { firstError } = await failsFirst(test, dripHead);
    assert.equal(firstError, 'no response within 700 ms');
  });

  it('that cuts the connection gets the message again', async (test) => {
    const { firstError } = await failsFirst(test, (response) => response.socket?.destroy());
    assert.match(firstError ?? '', /socket hang up|closed/);
  });

  it('that redirects is not followed', async (test) => {
    const elsewhere = await receiverThat(OK);
    const { firstError } = await failsFirst(test, status(307, { Location: elsewhere.url }));
    assert.equal(firstError, 'responded 307; redirects are not followed');
    assert.equal(elsewhere.connections, 0);
  });

  it('where nobody listens is asked again', async (test) => {
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

  it('that answers 10 MB, or never ends its answer, has said enough with its status', async (test) => {
    let sent = 0;
    const webhookIds = await Promise.all(
      [tenMegabytes((bytes) => (sent += bytes)), dripBody].map(async (answer) =>
        subscribe(engine.sql, (await receiverThat(answer)).url, RESERVED),
      ),
    );
    await useWebhookPersister(test, engine);
    await sell(5);
    for (const webhookId of webhookIds) {
      await eventually(async () =>
        assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 5 }),
      );
    }
    for (const receiver of receivers) assert.equal(receiver.received.length, 5);
    // What the kernel's buffers swallow is sent without being read.
    assert.ok(sent < 5 * 8_000_000, `${sent} bytes of 50 MB were taken`);
  });

  it('that hangs for ever holds up nobody else, and is paused', async (test) => {
    // Long enough that a busy machine delivers to the healthy one before.
    const timeoutMs = 4_000;
    const hanging = await receiverThat(() => undefined);
    const healthy = await receiverThat(OK);
    const hangingIds = await Promise.all(
      Array.from({ length: 4 }, (_, index) =>
        subscribe(engine.sql, `${hanging.url}/${index}`, RESERVED),
      ),
    );
    const healthyId = await subscribe(engine.sql, healthy.url, RESERVED);
    const running = await useWebhookPersister(test, engine, { webhooks: { timeoutMs } });
    const startMs = performance.now();
    const saleId = await sell(200);
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, healthyId), { delivered: 200 }),
    );
    assert.ok(
      performance.now() - startMs < timeoutMs,
      'before the first of the others had timed out',
    );
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

  it('that fails for long is paused ever longer, tried by one message at a time, and gets all once it works', async (test) => {
    const receiver = await receiverThat(status(500));
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine);
    const saleId = await sell(50);
    await eventually(async () => {
      assert.ok((await endpointOf(engine.sql, webhookId)).pausesInRow >= 3);
    });
    const tries = receiver.received.length;
    // The first 25 were under way together; after that one at a time: the fifth failure pauses.
    assert.ok(tries <= 35, `${tries} tries for 50 messages`);
    receiver.respond = OK;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 50 }),
    );
    assert.deepEqual(receiver.ids(), await expectedIds(engine.sql, saleId));
    const { pausedUntil, failuresInRow, pausesInRow } = await endpointOf(engine.sql, webhookId);
    assert.deepEqual([pausedUntil, failuresInRow, pausesInRow], [null, 0, 0]);
  });

  it('that is gone is disabled, and what waited for it is dead', async (test) => {
    const receiver = await receiverThat(status(410));
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine);
    await sell(30);
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { dead: 30 }),
    );
    const { status: state, lastError } = await endpointOf(engine.sql, webhookId);
    assert.deepEqual([state, lastError], ['disabled', 'responded 410, gone']);
    assert.ok(receiver.received.length <= 25, 'no more were sent than were under way');
    const saleId = await sell(3);
    await eventually(async () => assert.equal((await expectedIds(engine.sql, saleId)).length, 3));
    assert.deepEqual(await statesOf(engine.sql, webhookId), { dead: 30 }, 'nothing new is written');
  });

  it('that fails past the end gets it no more, until an operator asks', async (test) => {
    const receiver = await receiverThat(status(503));
    const webhookId = await subscribe(engine.sql, receiver.url, RESERVED);
    await useWebhookPersister(test, engine);
    await sell(2);
    await eventually(async () => {
      const tried = (await deliveriesOf(engine.sql, webhookId)).filter(
        ({ attempts }) => attempts > 0,
      );
      assert.equal(tried.length, 2);
    });
    await engine.sql`UPDATE webhook_deliveries SET give_up_at = now() WHERE webhook_id = ${webhookId}`;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { dead: 2 }),
    );
    receiver.respond = OK;
    const [first] = await deliveriesOf(engine.sql, webhookId);
    // As the admin's retry and resume do.
    await engine.sql`
      UPDATE webhook_deliveries SET state = 'pending', due_at = now(), attempts = 0, finished_at = NULL,
        give_up_at = now() + interval '24 hours' WHERE delivery_id = ${first!.deliveryId}`;
    await engine.sql`UPDATE webhook_endpoints SET paused_until = NULL WHERE webhook_id = ${webhookId}`;
    await eventually(async () =>
      assert.deepEqual(await statesOf(engine.sql, webhookId), { delivered: 1, dead: 1 }),
    );
  });

  it('is forgotten with its deliveries once deleted, and old deliveries are', async (test) => {
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

describe('a try', () => {
  const message = { secret: SECRET, messageId: 'evt_1', payload: '{}' };
  const never = new AbortController().signal;

  it('outside development does not connect where a public-looking name leads inside', async () => {
    const receiver = await startReceiver();
    const sender = new Sender({ isDevelopment: false }, 2_000);
    try {
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
    } finally {
      sender.close();
      await receiver.close();
    }
  });

  it('does not talk to a server that cannot prove who it is', async () => {
    let requests = 0;
    const server = createServer(SELF_SIGNED, (_request, response) => {
      requests += 1;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const sender = new Sender({ isDevelopment: true }, 2_000);
    try {
      const { port } = server.address() as AddressInfo;
      const sent = await sender.send({ ...message, url: `https://localhost:${port}/` }, never);
      assert.match(sent.error ?? '', /self-signed/);
      assert.equal(requests, 0);
    } finally {
      sender.close();
      server.close();
    }
  });

  it('finds out that a kept connection was closed, and makes another', async () => {
    const receiver = await startReceiver((response) => {
      response.writeHead(204).end();
      setTimeout(() => response.socket?.destroy(), 20);
    });
    const sender = new Sender({ isDevelopment: true }, 2_000);
    try {
      for (let i = 0; i < 20; i++) {
        const sent = await sender.send({ ...message, url: receiver.url }, never);
        assert.deepEqual(sent, { outcome: 'delivered', status: 204, error: null });
        await new Promise((resolve) => setTimeout(resolve, 10 + i));
      }
    } finally {
      sender.close();
      await receiver.close();
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
