/**
 * The private stack's Redis: on the loopback, behind a password, every decision in an append-only file.
 */
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
  /** Answers PING; while it still loads its file it does not. */
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

/** Writes its configuration; starts nothing. */
export function preparePrivateRedis(home: Home, settings: RedisSettings): PrivateRedis {
  const server = findRedisServer();
  if (!server) {
    throw new Fault(
      'server_unfit',
      `Redis ${REDIS_OLDEST} or newer is not on this machine. Type:\n  npm start`,
    );
  }
  const configuration = join(home.redis, 'redis.conf');
  // A file, and not arguments: those would show the password to everybody on the machine.
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
    isReady: () => answersPing(privateRedisUrl(settings)),
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
    // See DURABILITY: `safe` fsyncs before it answers, once per turn of Redis' loop, which holds a whole batch.
    `appendfsync ${settings.durability === 'fast' ? 'everysec' : 'always'}`,
    'save ""',
    // Stock must never be evicted; a full Redis has to refuse instead.
    'maxmemory-policy noeviction',
    // The command line then still says which home this server belongs to.
    'set-proc-title no',
    '',
  ].join('\n');
}

/** Redis' configuration takes C-like strings, which JSON's are as far as paths go. */
function quoted(path: string): string {
  return JSON.stringify(path);
}

async function answersPing(url: string): Promise<boolean> {
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    connectTimeout: 1_000,
    commandTimeout: 1_000,
  });
  // Without a listener ioredis prints what it cannot reach, and that it cannot be reached yet is expected.
  redis.on('error', () => {});
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } finally {
    redis.disconnect();
  }
}
