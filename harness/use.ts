/**
 * What a test starts, and how it goes again: each start says what undoes it, and when the test or the file is over all
 * is undone, the last first. A file starts what all its tests share at its top, by `await`; where that fails, what had
 * started is undone and the reason ends the file.
 */
import { after } from 'node:test';
import { type Connections, connect } from './engine/sales.ts';
import {
  createDatabase,
  type RedisChoices,
  startPostgres,
  startRedis,
  type TestDatabase,
  type TestPostgres,
  type TestRedis,
} from './servers/servers.ts';

/** How long something is needed: for a test, which is its context, or for the `FILE`. */
export interface Scope {
  after(undo: () => unknown): void;
}
export const FILE: Scope = { after };

const UNDOS = new WeakMap<Scope, (() => unknown)[]>();

/** What most things have that can be started. */
type Ending = { stop(): unknown } | { close(): unknown };

/** Hooks of node's own run in the order of their registration, and none after a file that failed at its top. */
export function use<T extends Ending>(scope: Scope, start: () => T | Promise<T>): Promise<T>;
export function use<T>(
  scope: Scope,
  start: () => T | Promise<T>,
  undo: (started: T) => unknown,
): Promise<T>;
export async function use<T>(
  scope: Scope,
  start: () => T | Promise<T>,
  undo: (started: T) => unknown = (started) => end(started as Ending),
): Promise<T> {
  let undos = UNDOS.get(scope);
  if (!undos) {
    const mine: (() => unknown)[] = [];
    UNDOS.set(scope, mine);
    scope.after(() => undoAll(mine));
    undos = mine;
  }
  try {
    const started = await start();
    undos.push(() => undo(started));
    return started;
  } catch (error) {
    // What cannot be undone after that is a consequence; the reason is what failed first.
    await undoAll(undos).catch(() => undefined);
    throw error;
  }
}

function end(started: Ending): unknown {
  return 'stop' in started ? started.stop() : started.close();
}

async function undoAll(undos: (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (let undo = undos.pop(); undo; undo = undos.pop()) {
    try {
      await undo();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'not all could be undone');
}

export function useRedis(scope: Scope, choices: RedisChoices = {}): Promise<TestRedis> {
  return use(scope, () => startRedis(choices));
}

export function useDatabase(scope: Scope): Promise<TestDatabase> {
  return use(scope, createDatabase, (database) => database.drop());
}

export function usePostgres(scope: Scope): Promise<TestPostgres> {
  return use(scope, startPostgres);
}

export function useConnections(
  scope: Scope,
  redisUrl: string,
  postgresUrl: string,
): Promise<Connections> {
  return use(scope, () => connect(redisUrl, postgresUrl));
}

/** A Redis and a database, and connections to them. */
export async function useServers(
  scope: Scope,
  choices: RedisChoices = {},
): Promise<{ redis: TestRedis; database: TestDatabase; servers: Connections }> {
  const redis = await useRedis(scope, choices);
  const database = await useDatabase(scope);
  return { redis, database, servers: await useConnections(scope, redis.url, database.url) };
}

/** The same with a PostgreSQL of its own, to be stopped, killed or frozen. */
export async function useStoppableServers(
  scope: Scope,
): Promise<{ redis: TestRedis; postgres: TestPostgres; servers: Connections }> {
  const redis = await useRedis(scope);
  const postgres = await usePostgres(scope);
  return { redis, postgres, servers: await useConnections(scope, redis.url, postgres.url) };
}
