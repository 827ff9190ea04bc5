/** A fault that had no effect, on a dead process or an idle link, must not count as survived. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { runSchedule } from '../../chaos/faults/inject.ts';
import { ENGINE_PROCESSES, type PlannedFault } from '../../chaos/faults/schedule.ts';
import { Links } from '../../chaos/links.ts';
import { ChaosStack } from '../../chaos/stack.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { usePostgres } from '../../harness/servers/postgres.ts';
import { useRedis, withRedis } from '../../harness/servers/redis.ts';
import { slowDown } from '../../harness/servers/slow-disk.ts';
import { use } from '../../harness/use.ts';
import { processIdentity } from '../../src/process/supervisor/process-identity.mjs';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';

const SYNC_MS = 20;
/** Much longer than an echo takes. */
const SILENCE_MS = 300;

/** An echo server behind a proxy. */
async function useEcho(t: TestContext) {
  const server = await use(t, () =>
    createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(
      0,
      '127.0.0.1',
    ),
  );
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return useCuttableProxy(t, { host: '127.0.0.1', port });
}

/** A connection that the proxy has forwarded data for. */
async function greet(port: number) {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  socket.write('hello');
  await once(socket, 'data');
  return socket;
}

test('a cut counts open connections, and a refusal counts new ones', async (t) => {
  const proxy = await useEcho(t);
  proxy.cutAll();
  proxy.refuse();
  assert.equal(proxy.harmed, 0, 'there was no connection');
  await once(
    connect(proxy.port, '127.0.0.1').on('error', () => undefined),
    'close',
  );
  assert.equal(proxy.harmed, 1, 'one connection was refused');
  proxy.heal();
  await Promise.all([greet(proxy.port), greet(proxy.port)]);
  proxy.cutAll();
  assert.equal(proxy.harmed, 3, 'two connections were cut');
});

test('a half-open link counts connections that send data', async (t) => {
  const proxy = await useEcho(t);
  const [idle, sending] = await Promise.all([greet(proxy.port), greet(proxy.port)]);
  proxy.stall();
  await sleep(50);
  proxy.heal();
  assert.equal(proxy.harmed, 0, 'no connection sent anything');
  proxy.stall();
  sending.write('some data');
  await eventually(() => assert.equal(proxy.heldBack, 1));
  proxy.heal();
  assert.equal(proxy.harmed, 1);
  await once(sending, 'data');
  idle.destroy();
});

test('a lost reply counts when its request has arrived', async (t) => {
  const proxy = await useEcho(t);
  const never = proxy.loseReplyTo('never said');
  const trap = proxy.loseReplyTo('hello');
  const client = connect(proxy.port, '127.0.0.1').on('error', () => undefined);
  client.write('hello');
  await once(client, 'close');
  assert.deepEqual([never.hasCaught, trap.hasCaught], [false, true]);
});

test('a slow disk counts only if it delayed a sync', async (t) => {
  const redis = await useRedis(t);
  const slow = await slowDown(redis.pid, SYNC_MS);
  if (!slow) return t.skip('strace is missing or not permitted');
  t.after(() => slow.end());
  await withRedis(redis.url, async (client) => {
    await client.get('key');
    assert.equal(slow.delayedSyncs, 0, 'nothing was written');
    await client.set('key', 'value');
  });
  await eventually(() => assert.ok(slow.delayedSyncs > 0));
});

test('an isolation does not end when a fault of its link ends', async (t) => {
  const [own, other] = [await useEcho(t), await useEcho(t)];
  const links = await use(
    t,
    () =>
      Links.open({
        redis: { ports: new Map([own, other].map(({ port }) => [port, port])) },
        postgresPort: own.port,
        portOf: new Map(ENGINE_PROCESSES.map((name) => [name, own.port])),
      }),
    (opened) => opened.close(),
  );
  const ports = links.portsOf('hot-path-1>redis');
  const responds = (server: typeof own) =>
    Promise.race([
      greet(ports.get(server.port)!).then(() => true),
      sleep(SILENCE_MS).then(() => false),
    ]);
  links.separate(own.port, new Set(['hot-path-1']));
  links.link('hot-path-1>redis').stall();
  links.link('hot-path-1>redis').heal();
  await eventually(async () => assert.equal(await responds(own), true));
  assert.equal(await responds(other), false);
  links.healRedis();
  await eventually(async () => assert.equal(await responds(other), true));
});

test('killing a dead process does not count', async (t) => {
  const directory = await use(
    t,
    () => mkdtempSync(join(tmpdir(), 'flash-sale-chaos-')),
    (path) => rmSync(path, { recursive: true, force: true }),
  );
  const postgres = await usePostgres(t);
  const stack = await use(
    t,
    () =>
      ChaosStack.start({
        mainModule: MAIN_MODULE,
        durability: 'safe',
        topology: 'single',
        directory,
        saleId: 'none',
        postgres,
        databaseUrl: postgres.url,
      }),
    (started) => started.stop(),
  );
  const kill = (target: PlannedFault['target'], atMs: number) =>
    ({ kind: 'kill', target, atMs, forMs: 0 }) as const;
  const done = async (schedule: PlannedFault[]) =>
    (await runSchedule(schedule, stack)).begun.map(({ tookEffect }) => tookEffect());
  // Without a turn of the event loop, in which the supervisor would restart it.
  const pid = stack.pidOf('admin');
  const first = stack.kill('admin');
  while (processIdentity(pid) !== undefined);
  const second = stack.kill('admin');
  assert.deepEqual(await Promise.all([first, second]), [true, false]);
  assert.deepEqual(
    await done([kill('redis', 0), kill('redis', 50)]),
    [true, true],
    'it was running again',
  );
  await stack.kill('redis');
  assert.deepEqual(await done([kill('redis', 0)]), [false]);
  await eventually(async () => assert.equal(await stack.kill('admin'), true), { timeoutMs: 5_000 });
});
