/**
 * A connection to PostgreSQL that dies, at whatever moment, takes its transaction with it and nothing else: no
 * statement of the transaction is run outside of it, the process lives on, the pool keeps its size, and whoever waited
 * is told, also by a server that says nothing any more. The library as published does none of the four; `patches/` does.
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

describe('a connection to postgres that dies', () => {
  async function kill(): Promise<void> {
    await killer`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = 'flash-sale-victim' AND datname = current_database()`;
  }

  /** How many statements the pool runs side by side. */
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

  it('between two statements of a transaction runs the second nowhere', async () => {
    const second = Promise.withResolvers<unknown>();
    const outcome = sql.begin(async (transaction) => {
      await transaction`INSERT INTO written VALUES ('inside')`;
      await kill();
      // Others make the pool connect again, which gives the transaction's connection a new life.
      await Promise.allSettled(Array.from({ length: 2 * CONNECTIONS }, () => sql`SELECT 1`));
      second.resolve(transaction`INSERT INTO written VALUES ('outside')`);
      await second.promise;
    });
    // With which error depends on what the process hears of first.
    await assert.rejects(outcome);
    await assert.rejects(second.promise);
    assert.deepEqual([...(await killer`SELECT by FROM written`)], []);
  });

  it('at any moment leaves the process alive and the pool whole', async () => {
    const stop = new AbortController();
    let served = 0;
    async function work(statement: () => Promise<unknown>): Promise<void> {
      while (!stop.signal.aborted) {
        try {
          await statement();
          served++;
        } catch {
          // What its connection's death does to a statement is its error; what it does to the others shows below.
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
    // The last one killed shows when it is used.
    await poolSize().catch(() => undefined);
    assert.equal(await poolSize(), CONNECTIONS);
  });
});

it('a transaction that waits for a silent server ends with its pool', async (test) => {
  const postgres = await usePostgres(test);
  const pool = connectPostgres(postgres.url, { process: 'victim', connectionsMax: 1 });
  const outcome = pool.begin(async (transaction) => {
    await transaction`SELECT 1`;
    postgres.pause();
    // The second waits behind the first, which PostgreSQL is asked to describe before it is run.
    await Promise.all([transaction`SELECT ${1}::int`, transaction`SELECT ${2}::int`]);
  });
  const told = assert.rejects(outcome, { code: 'CONNECTION_CLOSED' });
  await sleep(500);
  await pool.end({ timeout: 0 });
  const isTold = await Promise.race([told.then(() => true), sleep(5_000, false)]);
  postgres.resume();
  assert.ok(isTold, 'it waits for ever');
});
