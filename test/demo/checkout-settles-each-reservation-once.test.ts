/**
 * The checkout of the example against a real admin: payments and reservations agree in the end, whatever fails in
 * between.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request as httpRequest, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { Checkout } from '../../examples/checkout/checkout.ts';
import { MerchantApi } from '../../examples/checkout/merchant-api.ts';
import { type FailureRates, PaymentProvider } from '../../examples/checkout/payment-provider.ts';
import { startServer } from '../../examples/checkout/server.ts';
import { Shopper } from '../../examples/checkout/simulation.ts';
import { stateInRedis, TOKENS, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE, use } from '../../harness/use.ts';
import { type PublicReservation, publicReservation } from '../../src/domain/reservation.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';

const SECRET = `whsec_${Buffer.from('a-secret-for-tests-of-the-webhook').toString('base64')}`;
const PAY_SECRET = 'the-secret-of-the-shop-front';
const HAPPY: FailureRates = { refused: 0, lost: 0, slow: 0, slowMs: 0 };

const admin = await useAdmin(FILE);
await admin.app.listen({ port: 0, host: '127.0.0.1' });
const adminUrl = `http://127.0.0.1:${(admin.app.server.address() as AddressInfo).port}`;
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

async function sell(
  count: number,
  choices: Partial<SaleDefinition> = {},
): Promise<{ saleId: string; reservations: PublicReservation[] }> {
  const sale = await makeSale(admin, { stock: count, ...choices });
  const buyerIds = Array.from({ length: count }, (_, index) => `buyer-${index + 1}`);
  const outcomes = await buy(admin.shards, sale.saleId, buyerIds);
  const reservations = outcomes.map((outcome, index) => {
    assert.ok('record' in outcome, outcome.outcome);
    return publicReservation(parseRecord(outcome.record, sale, buyerIds[index]!));
  });
  return { saleId: sale.saleId, reservations };
}

interface Shop {
  checkout: Checkout;
  deliver(reservation: PublicReservation, type?: string): Promise<number>;
  url: string;
}

async function useShop(
  t: TestContext,
  choices: {
    failureRates?: Partial<FailureRates>;
    abandoning?: number;
    engineUrl?: string;
    peoplePrefix?: string;
  } = {},
): Promise<Shop> {
  const stopping = new AbortController();
  const engine = await use(
    t,
    () => new MerchantApi(choices.engineUrl ?? adminUrl, TOKENS.merchant),
  );
  const provider = new PaymentProvider({ ...HAPPY, ...choices.failureRates });
  const { abandoning = 0, peoplePrefix } = choices;
  const shopper = new Shopper({
    abandoning,
    thinkingMs: 0,
    ...(peoplePrefix && { peoplePrefix }),
  });
  const checkout = new Checkout({ engine, provider, shopper }, stopping.signal);
  const server = await use(
    t,
    () =>
      startServer(
        { host: '127.0.0.1', port: 0, webhookSecret: SECRET, paySecret: PAY_SECRET },
        checkout,
      ),
    async (started) => {
      stopping.abort();
      await started.close();
    },
  );
  const deliver = async (reservation: PublicReservation, type = 'reservation.reserved') => {
    const message = { type, data: { reservation, version: 1 } };
    return post(`${server.url}/webhooks`, message, SECRET);
  };
  return { checkout, deliver, url: server.url };
}

async function post(url: string, message: object, secret: string): Promise<number> {
  const body = JSON.stringify(message);
  const at = new Date();
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'webhook-id': 'evt_1',
      'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
      'webhook-signature': new Webhook(secret).sign('evt_1', at, body),
    },
    body,
  });
  await response.body?.cancel();
  return response.status;
}

async function stockOf(saleId: string) {
  const [stock] = (await stateInRedis(admin, saleId)).stock;
  return { remaining: stock!.remaining, held: stock!.held, confirmed: stock!.confirmed };
}

async function settled({ checkout }: Shop, count: number) {
  return eventually(
    () => {
      const {
        waiting,
        extended: _extended,
        kept: _kept,
        keptTotal: _total,
        ...ends
      } = checkout.counts;
      assert.equal(waiting, 0);
      assert.equal(
        Object.values(ends).reduce((sum, each) => sum + each, 0),
        count,
      );
      return checkout.counts;
    },
    { timeoutMs: 30_000 },
  );
}

test('repeated webhooks, refused payments and lost calls: as many units are confirmed as paid for', async (t) => {
  const { saleId, reservations } = await sell(60);
  const shop = await useShop(t, {
    failureRates: { refused: 0.2, lost: 0.5 },
    engineUrl: await useUnreliableEngine(t),
  });
  const tripled = [...reservations, ...reservations, ...reservations];
  const statuses = await Promise.all(tripled.map((each) => shop.deliver(each)));
  assert.deepEqual([...new Set(statuses)], [204]);
  const { confirmed, cancelled, kept } = await settled(shop, 60);
  assert.ok(confirmed > 0 && cancelled > 0);
  assert.equal(confirmed + cancelled, 60);
  assert.equal(kept, confirmed);
  assert.deepEqual(await stockOf(saleId), { remaining: cancelled, held: 0, confirmed });
  assert.equal(
    (await stateInRedis(admin, saleId)).events,
    120,
    'one transition for each reservation',
  );
});

/** A proxy of the admin: of four calls, one is refused, one loses its response, two succeed. */
async function useUnreliableEngine(t: TestContext): Promise<string> {
  let calls = 0;
  const forward: RequestListener = (request, response) => {
    const fate = calls++ % 4;
    if (fate === 0) {
      request.resume();
      response.writeHead(503, { 'retry-after': '0' }).end('{}');
      return;
    }
    const { method, headers } = request;
    const forwarded = httpRequest(`${adminUrl}${request.url}`, { method, headers }, (reply) => {
      if (fate === 1) {
        reply.resume();
        request.socket.destroy();
        return;
      }
      response.writeHead(reply.statusCode!, reply.headers);
      reply.pipe(response);
    });
    forwarded.on('error', () => request.socket.destroy());
    request.pipe(forwarded);
  };
  const server = await use(
    t,
    () => createServer(forward).listen(0, '127.0.0.1'),
    (started) => {
      started.close();
      started.closeAllConnections();
    },
  );
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('a webhook without a valid signature is rejected', async (t) => {
  const shop = await useShop(t);
  const other = `whsec_${Buffer.from('another-secret-than-the-webhooks').toString('base64')}`;
  const message = { type: 'reservation.reserved', data: {} };
  assert.equal(await post(`${shop.url}/webhooks`, message, other), 400);
  const unsigned = await fetch(`${shop.url}/webhooks`, { method: 'POST', body: '{}' });
  assert.equal(unsigned.status, 400);
  const huge = { ...message, padding: 'x'.repeat(70_000) };
  assert.equal(await post(`${shop.url}/webhooks`, huge, SECRET).catch(() => 413), 413);
  assert.equal(await post(`${shop.url}/webhooks`, { type: 'sale.opened', data: {} }, SECRET), 204);
  assert.equal(shop.checkout.counts.waiting, 0);
});

test('a hold is extended for a slow payment, and then confirmed', async (t) => {
  const { saleId, reservations } = await sell(3, { holdSeconds: 4 });
  const shop = await useShop(t, { failureRates: { slow: 1, slowMs: 5_000 } });
  await Promise.all(reservations.map((each) => shop.deliver(each)));
  const { confirmed, extended, kept } = await settled(shop, 3);
  assert.deepEqual([confirmed, extended, kept], [3, 3, 3]);
  assert.deepEqual(await stockOf(saleId), { remaining: 0, held: 0, confirmed: 3 });
});

test('a payment after the hold has expired is refunded', async (t) => {
  const shop = await useShop(t, { failureRates: { slow: 1, slowMs: 4_000 } });
  const { saleId, reservations } = await sell(3, { holdSeconds: 1 });
  await Promise.all(reservations.map((each) => shop.deliver(each)));
  const { refunded, kept } = await settled(shop, 3);
  assert.deepEqual([refunded, kept], [3, 0]);
  assert.deepEqual(await stockOf(saleId), { remaining: 3, held: 0, confirmed: 0 });
});

test('a buyer who never pays is not charged, and the hold expires', async (t) => {
  const shop = await useShop(t, { abandoning: 1 });
  const { saleId, reservations } = await sell(3, { holdSeconds: 1 });
  await Promise.all(reservations.map((each) => shop.deliver(each)));
  const { abandoned, kept } = await settled(shop, 3);
  assert.deepEqual([abandoned, kept], [3, 0]);
  await eventually(async () => {
    assert.deepEqual(await stockOf(saleId), { remaining: 3, held: 0, confirmed: 0 });
  });
});

test('a reservation that an operator cancels is refunded once', async (t) => {
  const { saleId, reservations } = await sell(2);
  const shop = await useShop(t);
  await Promise.all(reservations.map((each) => shop.deliver(each)));
  assert.equal((await settled(shop, 2)).kept, 2);
  const { reservationId } = reservations[0]!;
  const cancelled = await admin.call(`POST /reservations/${reservationId}/cancel`);
  assert.equal(cancelled.status, 200);
  for (let times = 0; times < 2; times += 1) {
    assert.equal(await shop.deliver(cancelled.body, 'reservation.cancelled'), 204);
  }
  assert.equal(shop.checkout.counts.kept, 1);
  assert.deepEqual(await stockOf(saleId), { remaining: 1, held: 0, confirmed: 1 });
});

test('a cancelled part is refunded once, whenever its webhook arrives', async (t) => {
  const sale = await makeSale(admin, { stock: 6, perBuyerLimit: 3 });
  const buyerIds = ['early', 'late'];
  const outcomes = await buy(admin.shards, sale.saleId, buyerIds, 'unit*3');
  const [early, late] = outcomes.map((outcome, index) => {
    assert.ok('record' in outcome, outcome.outcome);
    return publicReservation(parseRecord(outcome.record, sale, buyerIds[index]!));
  });
  const shop = await useShop(t);
  const cancel = async ({ reservationId }: PublicReservation, quantity: number) => {
    const body = { items: [{ sku: 'unit', quantity }] };
    const reply = await admin.call(`POST /reservations/${reservationId}/cancel`, { body });
    assert.equal(reply.status, 200, JSON.stringify(reply.body));
    return reply.body as PublicReservation;
  };
  // Before the shop knows the reservation: it charges by an older message, and the engine's response corrects it.
  await cancel(early!, 2);
  await shop.deliver(early!);
  await shop.deliver(late!);
  await settled(shop, 2);
  assert.equal(shop.checkout.counts.keptTotal, 1_000 + 3_000);
  const first = await cancel(late!, 1);
  for (let times = 0; times < 2; times += 1) {
    assert.equal(await shop.deliver(first, 'reservation.partly_cancelled'), 204);
  }
  const { kept, keptTotal } = shop.checkout.counts;
  assert.deepEqual([kept, keptTotal], [2, 1_000 + 2_000]);
});

test('a person pays when they choose to, once, also with another card', async (t) => {
  const { saleId, reservations } = await sell(2);
  const shop = await useShop(t, { peoplePrefix: 'buyer-', failureRates: { lost: 1 } });
  const [{ reservationId, buyerId }, other] = reservations as [
    PublicReservation,
    PublicReservation,
  ];
  await shop.deliver(reservations[0]!);
  assert.equal(shop.checkout.counts.waiting, 0, 'nobody is simulated');
  const pay = async (body: object, secret = PAY_SECRET) => {
    const response = await fetch(`${shop.url}/pay`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}` },
      body: JSON.stringify(body),
    });
    return [response.status, ((await response.json()) as { outcome?: string }).outcome];
  };
  const wanted = { reservationId, buyerId, card: 'works' };
  assert.deepEqual(await pay(wanted, 'guessed'), [401, undefined]);
  assert.deepEqual(await pay({ ...wanted, card: 'any' }), [422, undefined]);
  assert.deepEqual(await pay({ ...wanted, buyerId: other.buyerId }), [200, 'not_found']);
  assert.deepEqual(await pay({ ...wanted, card: 'refused' }), [200, 'refused']);
  const twice = await Promise.all([pay(wanted), pay(wanted)]);
  assert.deepEqual(
    [...twice, await pay(wanted)],
    Array.from({ length: 3 }, () => [200, 'confirmed']),
  );
  const { kept, keptTotal } = shop.checkout.counts;
  assert.deepEqual([kept, keptTotal], [1, 1_000]);
  assert.deepEqual(await stockOf(saleId), { remaining: 0, held: 1, confirmed: 1 });
  await admin.call(`POST /reservations/${other.reservationId}/cancel`);
  const late = { ...wanted, reservationId: other.reservationId, buyerId: other.buyerId };
  assert.deepEqual(await pay(late), [200, 'ended']);
});

test('a webhook after the hold has expired charges nothing', async (t) => {
  const { reservations } = await sell(1);
  const shop = await useShop(t);
  await shop.deliver({ ...reservations[0]!, expiresAt: '2020-01-01T00:00:00.000Z' });
  const { missed, kept } = await settled(shop, 1);
  assert.deepEqual([missed, kept], [1, 0]);
});

test('a restarted shop finds open reservations, with or without webhooks', async (t) => {
  const { saleId, reservations } = await sell(25);
  await eventually(async () => {
    const listed = await admin.call(`GET /reservations?saleId=${saleId}&status=reserved`);
    assert.equal(listed.body.data.length, 25);
  });
  const shop = await useShop(t);
  await shop.deliver(reservations[0]!);
  await shop.checkout.resume(saleId);
  const { confirmed } = await settled(shop, 25);
  assert.equal(confirmed, 25);
  assert.deepEqual(await stockOf(saleId), { remaining: 0, held: 0, confirmed: 25 });
});
