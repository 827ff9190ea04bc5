/**
 * A connection to PostgreSQL that dies takes only its transaction with it: no statement of it runs outside, the process
 * lives on, the pool keeps its size, and waiting callers get an error, also when the server sends nothing. The
 * published library guarantees none of the four; `patches/` does.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useDatabase, usePostgres } from '../../harness/servers/postgres.ts';
import { FILE, use } from '../../harness/use.ts';
import { connectPostgres, type Sql } from '../../src/postgres/connection.ts';

const CONNECTIONS = 4;

const database = await useDatabase(FILE);
const sql = await usePool('victim', CONNECTIONS);
const killer = await usePool('killer', 1);
await killer`CREATE TABLE written (by text)`;

function usePool(process: string, connectionsMax: number): Promise<Sql> {
  return use(
    FILE,
    () => connectPostgres(database.url, { process, connectionsMax }),
    (pool) => pool.end({ timeout: 5 }),
  );
}

describe('a connection to PostgreSQL that dies', () => {
  async function kill(): Promise<void> {
    await killer`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = 'flash-sale-victim' AND datname = current_database()`;
  }

  /** How many statements the pool runs at the same time. */
  async function poolSize(): Promise<number> {
    const pids = await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        const [row] = await sql<
          { pid: number }[]
        >`SELECT pg_backend_pid() AS pid FROM pg_sleep(0.2)`;
        return row!.pid;
      }),
    );
    return new Set(pids).size;
  }

  it('between two statements of a transaction does not run the second one', async () => {
    const second = Promise.withResolvers<unknown>();
    const outcome = sql.begin(async (transaction) => {
      await transaction`INSERT INTO written VALUES ('inside')`;
      await kill();
      // Other statements make the pool reconnect, which reuses the transaction's connection object.
      await Promise.allSettled(Array.from({ length: 2 * CONNECTIONS }, () => sql`SELECT 1`));
      second.resolve(transaction`INSERT INTO written VALUES ('outside')`);
      await second.promise;
    });
    // Which error it is depends on which event the process sees first.
    await assert.rejects(outcome);
    await assert.rejects(second.promise);
    assert.deepEqual([...(await killer`SELECT by FROM written`)], []);
  });

  it('at any moment leaves the process alive and the pool complete', async () => {
    const stop = new AbortController();
    let served = 0;
    async function work(statement: () => Promise<unknown>): Promise<void> {
      while (!stop.signal.aborted) {
        try {
          await statement();
          served++;
        } catch {
          // A statement may fail with its connection; the effect on other statements shows below.
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    const single = () => Promise.resolve(sql`SELECT ${1}::int`);
    const transaction = () =>
      sql.begin(async (tx) => {
        await tx`SELECT 1`;
        await tx`SELECT 2`;
      });
    const workers = [single, transaction, single, transaction, transaction].map(work);
    for (let kills = 0; kills < 150; kills++) {
      await kill();
      await sleep(kills % 15);
    }
    stop.abort();
    await Promise.all(workers);
    assert.ok(served > 0);
    // The connection that was killed last fails when it is used.
    await poolSize().catch(() => undefined);
    assert.equal(await poolSize(), CONNECTIONS);
  });
});

it('a transaction that waits for an unresponsive server ends with its pool', async (test) => {
  const postgres = await usePostgres(test);
  const pool = connectPostgres(postgres.url, { process: 'victim', connectionsMax: 1 });
  const outcome = pool.begin(async (transaction) => {
    await transaction`SELECT 1`;
    postgres.pause();
    // The second waits for the first, which PostgreSQL must describe before it runs.
    await Promise.all([transaction`SELECT ${1}::int`, transaction`SELECT ${2}::int`]);
  });
  const rejected = assert.rejects(outcome, { code: 'CONNECTION_CLOSED' });
  await sleep(500);
  await pool.end({ timeout: 0 });
  const isRejected = await Promise.race([rejected.then(() => true), sleep(5_000, false)]);
  postgres.resume();
  assert.ok(isRejected, 'the transaction did not end');
});
