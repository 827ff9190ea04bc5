/** Merchants' requests get a clear response when the request is invalid, or when Redis or PostgreSQL fails. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import {
  type AdminReply,
  callAdmin,
  stateInRedis,
  useAdmin,
  useApp,
} from '../../harness/engine/admin.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { FILE, use } from '../../harness/use.ts';
import { parseRecord } from '../../src/domain/reservation-codec.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { connectPostgres } from '../../src/postgres/connection.ts';

const admin = await useAdmin(FILE);
const sale = await makeSale(admin);
let buyers = 0;

async function reserveOne(): Promise<string> {
  const buyerId = `buyer-${++buyers}`;
  const [outcome] = await buy(admin.shards, sale.saleId, [buyerId]);
  assert.ok(outcome && 'record' in outcome, outcome?.outcome);
  return parseRecord(outcome.record, sale, buyerId).reservationId;
}

function assertProblem(response: AdminReply, status: number, code: string): void {
  assert.deepEqual([response.status, response.body.code], [status, code]);
  if (status === 503) assert.ok(Number(response.headers['retry-after']) > 0);
}

const WRONG_BODIES: [transition: string, what: string, body: unknown, field: string][] = [
  ['confirm', 'a reference too long', { paymentRef: 'x'.repeat(201) }, 'paymentRef'],
  ['confirm', 'a TAB in the reference', { paymentRef: 'a\tb' }, 'paymentRef'],
  ['confirm', 'half a surrogate pair', { paymentRef: '\ud800' }, 'paymentRef'],
  ['confirm', 'a number for a reference', { paymentRef: 7 }, 'paymentRef'],
  ['confirm', "a cancellation's field", { reason: 'x' }, 'reason'],
  ['confirm', 'a list', [], ''],
  ['confirm', 'invalid JSON', '{', ''],
  ['cancel', 'a reason too long', { reason: 'x'.repeat(201) }, 'reason'],
  ['cancel', 'LF in the reason', { reason: 'a\nb' }, 'reason'],
  ['cancel', "a confirmation's field", { paymentRef: 'x' }, 'paymentRef'],
  ['extend', 'anything', { seconds: 60 }, 'seconds'],
];
for (const [name, what, body, field] of WRONG_BODIES) {
  test(`${name} rejects ${what}, and changes nothing`, async () => {
    const reservationId = await reserveOne();
    const { events } = await stateInRedis(admin, sale.saleId);
    const response = await admin.call(`POST /reservations/${reservationId}/${name}`, { body });
    assertProblem(response, 422, 'invalid_request');
    assert.equal(response.body.errors[0].field, field);
    assert.equal((await stateInRedis(admin, sale.saleId)).events, events);
  });
}

test('two hundred characters of any script are accepted, and so is an empty body', async () => {
  for (const body of [{ paymentRef: '閃'.repeat(200) }, { paymentRef: '' }, {}, undefined]) {
    const path = `POST /reservations/${await reserveOne()}/confirm`;
    const response = await admin.call(path, body === undefined ? {} : { body });
    assert.equal(response.status, 200, JSON.stringify(response.body));
  }
});

test('an unknown or malformed reservation id gets 404', async () => {
  const reservationId = await reserveOne();
  const ids = [
    `${reservationId.slice(0, -1)}_`,
    `${reservationId.slice(0, -8)}AAAAAAAA`,
    `${sale.saleId}_999999_aaaaaaaa`,
    'nowhere_1_aaaaaaaa',
    'x',
    '%F0%9F%98%80',
  ];
  for (const id of ids) {
    for (const name of ['confirm', 'cancel', 'extend']) {
      const response = await admin.call(`POST /reservations/${id}/${name}`);
      assertProblem(response, 404, 'reservation_not_found');
    }
  }
});

test('a sale that is closed by its fence gets recovering', async () => {
  const closed = await makeSale(admin);
  const [outcome] = await buy(admin.shards, closed.saleId, ['ada']);
  assert.ok(outcome && 'record' in outcome);
  const { reservationId } = parseRecord(outcome.record, closed, 'ada');
  const { client } = admin.shards.of(closed.saleId);
  await client.hset(saleKey(closed.saleId, 'sale'), 'fence', 'of-another-server');
  const request = `POST /reservations/${reservationId}/confirm`;
  assertProblem(await admin.call(request), 503, 'recovering');
  // A sale that Redis has lost gets the same response, because PostgreSQL has it.
  await client.del(saleKey(closed.saleId, 'sale'));
  assertProblem(await admin.call(request), 503, 'recovering');
});

test('a lost reply is an unknown outcome, and a repeated request finds the transition applied', async (t) => {
  const proxy = await useCuttableProxy(t, { host: '127.0.0.1', port: admin.redis.port });
  const redisUrl = `redis://127.0.0.1:${proxy.port}`;
  const app = await useApp(t, await useConnections(t, redisUrl, admin.databaseUrl));
  // Redis must have the script, or its first reply would only be NOSCRIPT.
  await callAdmin(app, `POST /reservations/${await reserveOne()}/confirm`);
  const reservationId = await reserveOne();
  const request = `POST /reservations/${reservationId}/confirm`;
  proxy.loseReplyTo(transition.sha1);
  assertProblem(await callAdmin(app, request), 503, 'unavailable');
  const { events } = await stateInRedis(admin, sale.saleId);
  const again = await admin.call(request);
  assert.deepEqual([again.status, again.body.status], [200, 'confirmed']);
  assert.equal(again.headers['idempotent-replayed'], 'true');
  assert.equal((await stateInRedis(admin, sale.saleId)).events, events);
  proxy.cutAll();
  const cut = await callAdmin(app, `POST /reservations/${await reserveOne()}/confirm`);
  assertProblem(cut, 503, 'unavailable');
});

const POSTGRES_OUTAGES: Record<string, (t: TestContext) => Promise<FastifyInstance>> = {
  'that is down': (t) => appOn(t, 1),
  'that does not respond': async (t) => appOn(t, await unresponsivePort(t)),
};

async function appOn(
  t: TestContext,
  postgresPort: number,
  user = 'nobody@',
  database = '/none',
): Promise<FastifyInstance> {
  const url = `postgres://${user}127.0.0.1:${postgresPort}${database}`;
  const sql = await use(
    t,
    () => connectPostgres(url, { process: 'test', connectionsMax: 2 }),
    (connected) => connected.end({ timeout: 0 }),
  );
  return useApp(t, { shards: admin.shards, sql });
}

/** Accepts connections and forwards nothing, as a frozen server does. */
async function unresponsivePort(t: TestContext): Promise<number> {
  const proxy = await useCuttableProxy(t, { host: '127.0.0.1', port: admin.redis.port });
  proxy.stall();
  return proxy.port;
}

test('an admin that loses PostgreSQL stays ready, and reports it as missing', async (t) => {
  const { hostname, port, username, pathname } = new URL(admin.databaseUrl);
  const proxy = await useCuttableProxy(t, { host: hostname, port: Number(port) });
  const app = await appOn(t, proxy.port, `${username}@`, pathname);
  const ready = () => callAdmin(app, 'GET //readyz', { as: null });
  assert.deepEqual((await ready()).body, { status: 'ok', missing: [] });
  await proxy.close();
  const degraded = await ready();
  assert.deepEqual(
    [degraded.status, degraded.body],
    [200, { status: 'ok', missing: ['postgres'] }],
  );
  const confirmed = await callAdmin(app, `POST /reservations/${await reserveOne()}/confirm`);
  assert.equal(confirmed.status, 200);
  const without = await callAdmin(await appOn(t, 1), 'GET //readyz', { as: null });
  assert.deepEqual([without.status, without.body.missing], [503, ['postgres']]);
});

for (const [which, start] of Object.entries(POSTGRES_OUTAGES)) {
  test(`a PostgreSQL ${which} does not delay merchants`, async (t) => {
    const app = await start(t);
    const reservationId = await reserveOne();
    const startedMs = performance.now();
    for (const [name, status] of [
      ['extend', 'reserved'],
      ['confirm', 'confirmed'],
      ['confirm', 'confirmed'],
      ['cancel', 'cancelled'],
    ]) {
      const response = await callAdmin(app, `POST /reservations/${reservationId}/${name}`);
      assert.deepEqual([response.status, response.body.status], [200, status]);
    }
    // Four that waited for PostgreSQL would take four seconds.
    assert.ok(performance.now() - startedMs < 3_500);
    // Without PostgreSQL it is unknown whether the sale exists, so the response is not 404.
    const askedMs = performance.now();
    const unknown = await callAdmin(app, 'POST /reservations/nowhere_1_aaaaaaaa/confirm');
    assertProblem(unknown, 503, 'unavailable');
    // Less than the connect timeout, which would end it as well.
    assert.ok(performance.now() - askedMs < 4_500);
  });
}
