/** A test's own connections to Redis and PostgreSQL, with or without the servers. */
import assert from 'node:assert/strict';
import { connectPostgres, type Sql } from '../../src/postgres/connection.ts';
import { createLogger } from '../../src/process/logger.ts';
import { Shards } from '../../src/redis/shards.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import { type TestDatabase, type TestPostgres, useDatabase, usePostgres } from './postgres.ts';
import { type RedisChoices, type TestRedis, useRedis } from './redis.ts';

export interface Connections {
  shards: Shards;
  sql: Sql;
  close(): Promise<void>;
}

type ShardsChoices = Partial<ConstructorParameters<typeof Shards>[0]>;

/** Resolves when Redis is ready. */
async function connectShards(url: string, choices: ShardsChoices = {}): Promise<Shards> {
  const shards = new Shards({
    url,
    name: 'test',
    // A slow machine must not fail a test of something else.
    commandTimeoutMs: 10_000,
    requirements: { DURABILITY: 'fast', NODE_ENV: 'production' },
    log: createLogger('test', 'silent'),
    onUnfit: (fault) => {
      throw fault;
    },
    ...choices,
  });
  await eventually(() => assert.ok(shards.isReady, 'Redis is not ready'));
  return shards;
}

export async function connect(redisUrl: string, postgresUrl: string): Promise<Connections> {
  const sql = connectPostgres(postgresUrl, { process: 'test', connectionsMax: 4 });
  const shards = await connectShards(redisUrl);
  return {
    shards,
    sql,
    close: async () => {
      shards.close();
      await sql.end({ timeout: 2 });
    },
  };
}

export function useShards(
  scope: Scope,
  redisUrl: string,
  choices: ShardsChoices = {},
): Promise<Shards> {
  return use(scope, () => connectShards(redisUrl, choices));
}

export function useConnections(
  scope: Scope,
  redisUrl: string,
  postgresUrl: string,
): Promise<Connections> {
  return use(scope, () => connect(redisUrl, postgresUrl));
}

/** A Redis, a database, and connections to them. */
export async function useServers(
  scope: Scope,
  choices: RedisChoices = {},
): Promise<{ redis: TestRedis; database: TestDatabase; servers: Connections }> {
  const redis = await useRedis(scope, choices);
  const database = await useDatabase(scope);
  return { redis, database, servers: await useConnections(scope, redis.url, database.url) };
}

/** The same with a PostgreSQL of its own, which the test may stop, kill or freeze. */
export async function useStoppableServers(
  scope: Scope,
): Promise<{ redis: TestRedis; postgres: TestPostgres; servers: Connections }> {
  const redis = await useRedis(scope);
  const postgres = await usePostgres(scope);
  return { redis, postgres, servers: await useConnections(scope, redis.url, postgres.url) };
}
