import assert from 'node:assert/strict';
import { test } from 'node:test';
import calculateSlot from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { saleKey } from '../../src/lua/keys.ts';
import { findFreePorts } from '../../src/stack/free-port.ts';
import { connectShards, openSale, startHotPath } from '../support/hot-path.ts';
import { eventually, startRedis } from '../support/servers.ts';

const SLOTS = 16_384;

test('each sale lives whole on the master that owns its slot', async () => {
  const busPorts = await findFreePorts(3);
  const servers = await Promise.all(
    busPorts.map((port) =>
      startRedis({ args: ['--cluster-enabled', 'yes', '--cluster-port', String(port)] }),
    ),
  );
  const nodes = servers.map(({ url }) => new Redis(url));
  const url = servers.map((server) => server.url).join(',');
  const share = Math.ceil(SLOTS / nodes.length);
  for (const [i, node] of nodes.entries()) {
    await node.cluster('ADDSLOTSRANGE', i * share, Math.min(SLOTS, (i + 1) * share) - 1);
    if (i > 0) await node.cluster('MEET', '127.0.0.1', servers[0]!.port, busPorts[0]!);
  }
  await eventually(async () => {
    for (const node of nodes) assert.match(await node.cluster('INFO'), /cluster_state:ok/);
  });
  const shards = await connectShards(url);
  const hotPath = await startHotPath(url);
  try {
    const owners = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const sale = await openSale(shards, { phone: 2 });
      const replies = await Promise.all(
        ['a', 'b', 'c'].map((buyer) => hotPath.buy(sale.saleId, buyer)),
      );
      assert.deepEqual(
        replies.map(({ status }) => status).sort((a, b) => a - b),
        [201, 201, 409],
      );
      const owner = Math.floor(calculateSlot(saleKey(sale.saleId, 'sale')) / share);
      assert.equal(await nodes[owner]!.exists(saleKey(sale.saleId, 'buyers')), 1);
      owners.add(owner);
    }
    assert.equal(owners.size, 3, 'twenty sales reach all three nodes');
  } finally {
    await hotPath.close();
    shards.close();
    for (const node of nodes) node.disconnect();
    for (const server of servers) await server.stop();
  }
});
