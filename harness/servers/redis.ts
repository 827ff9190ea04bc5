/** A real Redis on a free loopback port, with its data in a temporary directory that is removed when it stops. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findRedisServer } from '../../src/dev/bootstrap/find-servers.mjs';
import { findFreePorts } from '../../src/process/free-port.ts';
import { claimIdentity, completeIdentity, identityKey } from '../../src/redis/identity.ts';
import { type Scope, use } from '../use.ts';
import { asTestServer, ServerProcess, type TestServer } from './server-process.ts';

export interface TestRedis extends TestServer {
  /** Where its append-only files are. */
  directory: string;
}

export interface RedisChoices {
  /** `always`, unless a test needs a server that may lose writes. */
  appendfsync?: 'always' | 'everysec' | 'no';
  /** More of redis.conf, e.g. `['--maxmemory', '50mb']`. */
  args?: string[];
  /** The server's program; the machine's Redis by default. */
  command?: string | undefined;
  /** A free one by default. */
  port?: number;
  /** Further variables of its environment. */
  env?: Record<string, string>;
}

export function useRedis(scope: Scope, choices: RedisChoices = {}): Promise<TestRedis> {
  return use(scope, () => startRedis(choices));
}

/**
 * A Redis for hot paths alone. It already has the identity of a database, as after the first round of a persister; without
 * one, a sale that it does not have could be one that it lost.
 */
export function useRedisWithIdentity(scope: Scope, choices: RedisChoices = {}): Promise<TestRedis> {
  return use(scope, async () => {
    const redis = await startRedis(choices);
    await withRedis(redis.url, async (client) => {
      const place = { client, key: identityKey()! };
      await completeIdentity(place, (await claimIdentity(place, 'no-database')).claim);
    });
    return redis;
  });
}

/** Configured as the engine requires: append-only, `appendfsync always`, no eviction. */
export async function startRedis(choices: RedisChoices = {}): Promise<TestRedis> {
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-redis-'));
  const port = choices.port ?? (await findFreePorts(1))[0]!;
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    save: '',
    appendonly: 'yes',
    appendfsync: choices.appendfsync ?? 'always',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const redisProcess = await ServerProcess.start({
    command: choices.command ?? redisCommand(),
    args: [...args, ...(choices.args ?? [])],
    stopSignal: 'SIGTERM',
    env: choices.env ?? {},
    isReady: () => repliesToPing(port),
  });
  const url = `redis://127.0.0.1:${port}`;
  return Object.assign(asTestServer(redisProcess, url, port, directory), { directory });
}

let redisPath: string | undefined;
export function redisCommand(): string {
  redisPath ??= findRedisServer()?.path;
  if (!redisPath) throw new Error('redis-server is not installed; npm test installs it');
  return redisPath;
}

/** Whether the program was built with TLS. It does not start with this certificate either way. */
export function supportsTls(): boolean {
  const args = ['--port', '0', '--tls-port', '1', '--tls-cert-file', '/nonexistent'];
  const { stdout } = spawnSync(redisCommand(), args, { cwd: '/', encoding: 'utf8' });
  return !stdout.includes('connection type tls');
}

/** On the loopback interface. */
export async function repliesToPing(port: number): Promise<boolean> {
  // The client's own ready check polls a server that still loads its file only once a second.
  const redis = new Redis({
    port,
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
    // If the socket has closed already, the client's timer for that keeps this process alive.
    disconnectTimeout: 10,
  });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } finally {
    redis.disconnect();
  }
}

/** Runs a few commands on one server, over a connection that is closed afterwards. */
export async function withRedis<T>(url: string, run: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url);
  redis.on('error', () => undefined); // The command's own rejection reports the error.
  try {
    return await run(redis);
  } finally {
    redis.disconnect();
  }
}
