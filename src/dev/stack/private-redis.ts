/** The Redis of a private stack: on the loopback interface, with a password and an append-only file. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { CommonConfig } from '../../config.ts';
import { Fault } from '../../domain/fault.ts';
import type { ProcessPlan } from '../../process/supervisor/supervised-process.ts';
import { findRedisServer, REDIS_OLDEST } from '../bootstrap/find-servers.mjs';
import type { Home } from './home.ts';

export interface PrivateRedis {
  plan: ProcessPlan;
  version: string;
  /** Whether it replies to PING, which it does not while it loads its file. */
  isReady: () => Promise<boolean>;
}

interface RedisSettings {
  port: number;
  password: string;
  durability: CommonConfig['DURABILITY'];
}

export function privateRedisUrl({ port, password }: { port: number; password: string }): string {
  return `redis://default:${password}@127.0.0.1:${port}`;
}

/** Writes the configuration file. Does not start the server. */
export function preparePrivateRedis(home: Home, settings: RedisSettings): PrivateRedis {
  const server = findRedisServer();
  if (!server) {
    throw new Fault(
      'server_unfit',
      `Redis ${REDIS_OLDEST} or newer was not found on this machine. To install it, type:\n  npm start`,
    );
  }
  const configuration = join(home.redis, 'redis.conf');
  // Arguments would show the password to every user of the machine.
  writeFileSync(configuration, redisConfiguration(home, settings), { mode: 0o600 });
  return {
    plan: {
      name: 'redis',
      kind: 'server',
      command: server.path,
      args: [configuration],
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
      stopSignal: 'SIGTERM',
      stopDeadlineMs: 10_000,
    },
    version: server.version,
    isReady: () => repliesToPing(privateRedisUrl(settings)),
  };
}

function redisConfiguration(home: Home, settings: RedisSettings): string {
  return [
    'bind 127.0.0.1',
    `port ${settings.port}`,
    `requirepass ${settings.password}`,
    `dir ${quoted(home.redis)}`,
    'daemonize no',
    'appendonly yes',
    // `always` calls fsync before the replies, once per turn of Redis' event loop.
    `appendfsync ${settings.durability === 'fast' ? 'everysec' : 'always'}`,
    'save ""',
    // A full Redis must reject writes instead of evicting stock.
    'maxmemory-policy noeviction',
    // Keeps the path of the home visible in the process list.
    'set-proc-title no',
    '',
  ].join('\n');
}

/** Redis' configuration has C-like strings; for paths, JSON strings are the same. */
function quoted(path: string): string {
  return JSON.stringify(path);
}

async function repliesToPing(url: string): Promise<boolean> {
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    connectTimeout: 1_000,
    commandTimeout: 1_000,
  });
  // Without a listener ioredis prints each failed connection, which is expected here.
  redis.on('error', () => {});
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } finally {
    redis.disconnect();
  }
}
