/**
 * Two sales on two masters of a cluster, and two on the master of three sentinels: live updates, the waitlist, refusals
 * without Redis, the dashboard, the archive and verification work there as on one server.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { callAdmin, newSale, TOKENS, useApp } from '../../harness/engine/admin.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { useEventStream } from '../../harness/network/event-stream.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { useDatabase } from '../../harness/servers/postgres.ts';
import { useCluster } from '../../harness/servers/redis-cluster.ts';
import { useReplicated } from '../../harness/servers/replication.ts';
import { useSentinels } from '../../harness/servers/sentinels.ts';
import type { TestServer } from '../../harness/servers/server-process.ts';
import type { Scope } from '../../harness/use.ts';
import { saleKey } from '../../src/lua/keys.ts';

/** Names of two sales, and the server that can be frozen with some of them. */
interface Topology {
  url: string;
  saleIds: readonly [string, string];
  server: TestServer;
  salesOnServer: readonly string[];
}

/** Longer than the test freezes the master, also on a busy machine. */
const DOWN_AFTER_MS = 60_000;

const TOPOLOGIES: Record<string, (scope: Scope) => Promise<Topology>> = {
  'two masters of a cluster': async (scope) => {
    const cluster = await useCluster(scope);
    const saleOn = (owner: number) => {
      const isOn = (saleId: string) =>
        cluster.ownerOf(calculateSlot(saleKey(saleId, 'sale'))) === owner;
      for (let i = 0; ; i++) if (isOn(`on-${owner}-${i}`)) return `on-${owner}-${i}`;
    };
    const [first, second] = [saleOn(0), saleOn(1)];
    const server = cluster.masters[0]!;
    return { url: cluster.url, saleIds: [first, second], server, salesOnServer: [first] };
  },
  'the master of three sentinels': async (scope) => {
    const redis = await useReplicated(scope, { replicas: 2, demanded: 1 });
    const { url } = await useSentinels(scope, redis.master, { downAfterMs: DOWN_AFTER_MS });
    const saleIds = ['first', 'second'] as const;
    return { url, saleIds, server: redis.master, salesOnServer: saleIds };
  },
};

for (const [name, start] of Object.entries(TOPOLOGIES)) {
  test(`everything of two sales works on ${name}`, async (t) => {
    const topology = await start(t);
    await everythingWorksOn(t, topology);
  });
}

async function everythingWorksOn(t: TestContext, topology: Topology): Promise<void> {
  const { saleIds, server, salesOnServer } = topology;
  const database = await useDatabase(t);
  const servers = await useConnections(t, topology.url, database.url);
  await usePersister(t, topology.url, database.url);
  // Less than the time in which the nodes of a cluster give up the frozen one.
  const hotPath = await useHotPath(t, topology.url, { REDIS_COMMAND_TIMEOUT_MS: '2000' });
  const app = await useApp(t, servers);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  for (const saleId of saleIds) {
    const body = newSale({ saleId, skus: [{ sku: 'phone', price: 19_900, stock: 2 }] });
    assert.equal((await callAdmin(app, 'POST /sales', { body })).status, 201);
    assert.equal((await callAdmin(app, `POST /sales/${saleId}/open`)).status, 200);
  }
  const stream = await useEventStream(t, `${url}/dashboard/live`, {
    authorization: `Bearer ${TOKENS.viewer}`,
  });
  for (const saleId of saleIds) {
    const buy = (buyer: string) => hotPath.buy(saleId, buyer);
    const won = await buy('ada');
    assert.deepEqual([won.status, (await buy('ben')).status], [201, 201]);
    assert.equal((await buy('cleo')).body.code, 'sold_out');

    const watcher = await useWatcher(t, hotPath, saleId, { buyer: 'cleo' });
    const joined = await hotPath.call(`/v1/sales/${saleId}/waitlist`, {
      method: 'POST',
      buyer: 'cleo',
    });
    assert.equal(joined.status, 201);
    const cancelled = await hotPath.call(`/v1/reservations/${won.body.reservationId}/cancel`, {
      method: 'POST',
      buyer: 'ada',
    });
    assert.equal(cancelled.status, 200);
    const given = await watcher.receives(
      'reservation',
      ({ reservation }) => reservation.status === 'reserved',
    );
    assert.equal(given.reservation.source, 'waitlist');
  }
  await eventually(() => {
    const shown = stream.events.flatMap(({ data }) => data.sales ?? []);
    for (const saleId of saleIds)
      assert.ok(shown.some((sale: { saleId: string }) => sale.saleId === saleId));
  });

  // While the server is frozen, the hot path refuses its sales from memory. A view lasts for 250 ms, so this is repeated
  // until one is young enough.
  const localRefusals = () => hotPath.metric('flash_sale_local_sold_out_total');
  let strangers = 0;
  await eventually(async () => {
    for (const saleId of salesOnServer) {
      const before = await localRefusals();
      assert.equal((await hotPath.buy(saleId, `stranger-${++strangers}`)).body.code, 'sold_out');
      assert.ok((await localRefusals()) > before);
    }
    server.pause();
    try {
      for (const saleId of saleIds) {
        assert.equal((await hotPath.buy(saleId, 'late')).body.code, 'sold_out', saleId);
      }
    } finally {
      server.resume();
    }
  });

  for (const saleId of saleIds) {
    await eventually(async () => {
      const { body } = await callAdmin(app, `GET /sales/${saleId}/verify`);
      assert.equal(body.ok, true, JSON.stringify(body));
    });
    const { body: list } = await callAdmin(app, `GET /reservations?saleId=${saleId}`);
    for (const { status, reservationId } of list.data) {
      if (status !== 'reserved') continue;
      const confirmed = await callAdmin(app, `POST /reservations/${reservationId}/confirm`);
      assert.equal(confirmed.status, 200);
    }
    assert.equal((await callAdmin(app, `POST /sales/${saleId}/end`)).status, 200);
    await eventually(async () => {
      const archived = await callAdmin(app, `POST /sales/${saleId}/archive`);
      assert.equal(archived.status, 200, JSON.stringify(archived.body));
    });
    await eventually(async () => {
      assert.equal((await hotPath.buy(saleId, 'dora')).body.code, 'sale_ended');
    });
  }
}
