/**
 * deploy/compose/cluster.yml agrees with docker-compose.yml and the configuration. That its servers become a cluster on
 * which the engine sells: test/redis/compose-cluster-is-accepted.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VARIABLES } from '../../src/config.ts';
import { parseRedisUrl } from '../../src/redis/redis-url.ts';
import {
  interpolated,
  mergedCompose,
  nodesOf,
  readCompose,
  type Service,
} from '../redis/compose-cluster.ts';

const REDIS_PORT = 6379;
const PROCESSES = ['migrate', 'hot-path', 'persister', 'admin'] as const;

const single = readCompose('docker-compose.yml');
const cluster = mergedCompose();
const nodes = nodesOf(cluster);
const init = cluster.services['redis-cluster']!;

function addressOf({ networks }: Service): string {
  return interpolated(networks!.default.ipv4_address);
}

describe('deploy/compose/cluster.yml', () => {
  it('has six nodes with the same settings, each with an address and a volume of its own', () => {
    assert.equal(nodes.length, 6);
    const [, first] = nodes[0]!;
    for (const [name, { command, image }] of nodes) {
      assert.deepEqual(command, first.command, name);
      assert.equal(image, single.services.redis!.image, name);
    }
    assert.equal(new Set(nodes.map(([, node]) => addressOf(node))).size, nodes.length);
    const volumes = nodes.flatMap(([, node]) => node.volumes!.map((each) => each.split(':')));
    assert.equal(new Set(volumes.map(([volume]) => volume)).size, nodes.length);
    for (const [volume, path] of volumes) {
      assert.ok(Object.hasOwn(cluster.volumes, volume!), volume);
      assert.equal(path, '/data');
    }
  });

  it('has the settings of the single Redis, and those of a cluster with replicas', () => {
    const command = nodes[0]![1].command!;
    const common = single.services.redis!.command!;
    assert.deepEqual(command.slice(0, common.length), common);
    const added = command.slice(common.length).join(' ');
    for (const setting of ['--cluster-enabled yes', '--min-replicas-to-write 1']) {
      assert.ok(added.includes(setting), setting);
    }
    assert.match(added, /--min-replicas-max-lag [1-9]/);
  });

  it('makes the cluster of these nodes, once all of them respond', () => {
    const made = interpolated(String(init.environment!.NODES)).split(' ');
    const expected = nodes.map(([, node]) => `${addressOf(node)}:${REDIS_PORT}`);
    assert.deepEqual(made, expected);
    assert.deepEqual(
      Object.keys(init.depends_on!).toSorted(),
      nodes.map(([name]) => name),
    );
    for (const { condition } of Object.values(init.depends_on!)) {
      assert.equal(condition, 'service_healthy');
    }
    const subnet = interpolated(cluster.networks!.default.ipam.config[0]!.subnet);
    const prefix = subnet.replace(/0\/24$/, '');
    for (const address of expected) assert.ok(address.startsWith(prefix), address);
  });

  it('lets each process wait for the cluster, connect to all nodes, and wait for replicas', () => {
    const hosts = nodes.map(([name]) => ({ host: name, port: REDIS_PORT }));
    for (const name of PROCESSES) {
      const { environment = {}, depends_on: dependencies } = cluster.services[name]!;
      assert.equal(environment.DURABILITY, 'replicated', name);
      assert.deepEqual(
        parseRedisUrl(String(environment.REDIS_URL)).map(({ host, port }) => ({ host, port })),
        hosts,
      );
      assert.equal(dependencies!['redis-cluster']!.condition, 'service_completed_successfully');
      assert.deepEqual(Object.keys(environment).toSorted(), VARIABLES[name].toSorted(), name);
    }
  });

  it('checks the health of every service that runs on, as docker-compose.yml does', () => {
    for (const { services } of [single, cluster]) {
      for (const [name, { restart, healthcheck }] of Object.entries(services)) {
        if (restart === 'unless-stopped') assert.ok(healthcheck?.test, name);
      }
    }
  });
});
