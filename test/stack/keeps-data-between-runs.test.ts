/** Data, tokens and secrets survive a restart of the stack; `--fresh` deletes them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Redis } from 'ioredis';
import postgres from 'postgres';
import { MAIN_MODULE, type StackHome, useStackHome } from '../../harness/engine/stack-process.ts';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';

void test('data and secrets are kept between runs, and --fresh deletes them', async (t) => {
  const home = await useStackHome(t);
  const first = await run(home, [], leaveMark);
  const second = await run(home, [], readMark);
  assert.deepEqual(second.found, { redis: 'here', postgres: true });
  assert.equal(second.description.adminToken, first.description.adminToken);
  assert.equal(second.description.merchantToken, first.description.merchantToken);
  assert.equal(second.description.jwtSecret, first.description.jwtSecret);

  const fresh = await run(home, ['--fresh'], readMark);
  assert.deepEqual(fresh.found, { redis: null, postgres: false });
  assert.notEqual(fresh.description.jwtSecret, first.description.jwtSecret);
});

async function run<T>(
  home: StackHome,
  args: string[],
  look: (redis: Redis, sql: postgres.Sql) => Promise<T>,
): Promise<{ description: StackDescription; found: T }> {
  const stack = home.start({ command: [MAIN_MODULE, 'stack', ...args] });
  const description = await stack.ready();
  const redis = new Redis(description.redisUrl);
  const sql = postgres(description.postgresUrl, { max: 1 });
  const found = await look(redis, sql);
  redis.disconnect();
  await sql.end();
  stack.child.kill('SIGTERM');
  assert.equal(await stack.ended(), 0, stack.stderr);
  return { description, found };
}

async function leaveMark(redis: Redis, sql: postgres.Sql): Promise<void> {
  await redis.set('mark', 'here');
  await sql`CREATE TABLE mark ()`;
}

async function readMark(redis: Redis, sql: postgres.Sql) {
  const [row] = await sql<{ present: boolean }[]>`
    SELECT to_regclass('mark') IS NOT NULL AS present`;
  return { redis: await redis.get('mark'), postgres: row!.present };
}
