/**
 * A win with a durable row: rows committed by PostgreSQL, divided by the time from the first request to the last row.
 * Nothing is placed on cores, because the whole stack of each contestant shares the machine.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { type Buyers, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, percentile, runWrk, type WrkLoad, type WrkResult } from '../load/wrk.ts';
import {
  CONVENTIONAL,
  ENGINE,
  SQL,
  startConventional,
  startEngine,
  startPersister,
  startSql,
} from '../measure/contestants.ts';
import { runRounds } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openTestbed, type Started, type Testbed } from '../measure/testbed.ts';

const CONNECTIONS = 256;
const LIMIT = 100;
const STOCK = 10_000_000;
const BUYERS = 90_000;
const WINS_PER_SECOND_MAX = 90_000;
export const ENGINE_TABLES = ['reservations', 'reservation_events'];
/** A contestant that takes longer does not keep up. */
const DRAIN = { timeoutMs: 120_000 };
/** If nothing is decided for this long, nothing is under way. */
const SETTLE_MS = 100;

export const durable: Scenario = {
  name: 'durable',
  title: 'Every request wins and its row is durable',
  async run(options) {
    const testbed = await openTestbed({ stopping: options.stopping });
    try {
      const buyers = await writeDurableBuyers(testbed, options.seconds);
      await startPersister(testbed);
      const contestants: Record<string, Started> = {
        [ENGINE]: await startEngine(testbed),
        [CONVENTIONAL]: await startConventional(testbed, 'durable'),
        [SQL]: await startSql(testbed),
      };
      const tables: Record<string, string> = {
        [CONVENTIONAL]: 'conventional_orders',
        [SQL]: 'sql_orders',
      };
      const curves: Record<string, [number, number][]> = {};
      const rounds = await runRounds(options, Object.keys(contestants), async (name) => {
        const load = { port: contestants[name]!.port, seconds: options.seconds };
        if (name === ENGINE) {
          const { wrk, rows, drainSeconds } = await sellDurably(testbed, buyers, load);
          await emptyTables(testbed, ENGINE_TABLES);
          curves[name] = wrk.latencyMs;
          return {
            perSecond: rows / (wrk.seconds + drainSeconds),
            responsesPerSecond: wrk.perSecond,
            drainSeconds,
            p99Ms: percentile(wrk, 99),
          };
        }
        const saleId = await testbed.openSale({ stock: STOCK });
        await stockUp(testbed, saleId);
        const wrk = await sendAll(testbed, saleId, buyers, load);
        await expectRows(testbed, tables[name]!, saleId, wrk);
        await emptyTables(testbed, [tables[name]!]);
        curves[name] = wrk.latencyMs;
        return {
          // Each 201 has a row already, so there is nothing to wait for.
          perSecond: wrk.perSecond,
          responsesPerSecond: wrk.perSecond,
          drainSeconds: 0,
          p99Ms: percentile(wrk, 99),
        };
      });
      const rows = { metric: 'perSecond', of: ENGINE };
      return {
        settings: { connections: CONNECTIONS, durability: testbed.durability, cores: 'shared' },
        rounds,
        comparisons: [
          {
            what: 'durable wins per second, engine ÷ conventional',
            ...rows,
            over: CONVENTIONAL,
            atLeast: 10,
          },
          { what: 'durable wins per second, engine ÷ SQL', ...rows, over: SQL },
          { what: 'durable wins per second', ...rows, unit: 'rows/s' },
        ],
        curves,
      };
    } finally {
      await testbed.close();
    }
  },
};

export function writeDurableBuyers(testbed: Testbed, seconds: number): Promise<Buyers> {
  return writeBuyers(join(testbed.directory, 'buyers'), {
    name: 'durable',
    count: BUYERS,
    purchasesEach: Math.ceil((WINS_PER_SECOND_MAX * seconds) / BUYERS),
  });
}

type Load = Pick<WrkLoad, 'port' | 'seconds'> & { perSecond?: number };

/** A sale of the engine, from the first request to the last row. */
export async function sellDurably(testbed: Testbed, buyers: Buyers, load: Load, watch?: Watch) {
  const saleId = await testbed.openSale({ stock: STOCK, perBuyerLimit: LIMIT });
  const { shards, sql } = testbed.servers;
  // The persister must have found the sale, or its first second would be spent on that.
  await buy(shards, saleId, ['the-first']);
  await eventually(async () => expectDurable(await durableRows(testbed, saleId), 1), DRAIN);
  const watching = watch?.(saleId);
  const wrk = await sendAll(testbed, saleId, buyers, load);
  const sentAt = performance.now();
  const { sold, durableAt } = await untilAllAreDurable(testbed, saleId);
  // One of them belongs to the first buyer.
  expect(
    sold > wrk.requests && sold <= wrk.requests + 1 + CONNECTIONS,
    `${wrk.requests} responses were 201 and ${sold - 1} reservations exist`,
  );
  const drainSeconds = (durableAt - sentAt) / 1e3;
  await watching?.();
  const [found] = await sql<{ rows: number }[]>`
    SELECT count(*)::int AS rows FROM reservations WHERE sale_id = ${saleId}`;
  expect(found!.rows === sold, `${sold} were sold and ${found!.rows} rows exist`);
  return { saleId, wrk, rows: sold - 1, drainSeconds };
}

/** All decisions are rows, and none is added: the hot path still decides requests whose connections wrk has closed. */
async function untilAllAreDurable(
  testbed: Testbed,
  saleId: string,
): Promise<{ sold: number; durableAt: number }> {
  const { client } = testbed.servers.shards.of(saleId);
  const count = async () => {
    const sold = await client.llen(saleKey(saleId, 'order'));
    await eventually(async () => expectDurable(await durableRows(testbed, saleId), sold), DRAIN);
    return { sold, durableAt: performance.now() };
  };
  for (let found = await count(); ; ) {
    await sleep(SETTLE_MS);
    const later = await count();
    if (later.sold === found.sold) return found;
    found = later;
  }
}

/** Called before the load; the returned function, after the last row. */
export type Watch = (saleId: string) => () => Promise<void>;

/** Committed decisions of a sale, by the checkpoint that their transaction writes. */
export async function durableRows({ servers }: Testbed, saleId: string): Promise<number> {
  const [row] = await servers.sql<{ event: string }[]>`
    SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
  return Number(row?.event ?? 0);
}

/** Rows of earlier rounds must not slow later ones. */
export async function emptyTables(
  { servers: { sql } }: Testbed,
  names: readonly string[],
): Promise<void> {
  await sql`TRUNCATE ${sql.unsafe(names.join(', '))}`;
  await sql`CHECKPOINT`;
}

function expectDurable(rows: number, expected: number): void {
  if (rows < expected) throw new Error(`${rows} of ${expected} rows are durable`);
}

async function sendAll(
  testbed: Testbed,
  saleId: string,
  { file }: Buyers,
  load: Load,
): Promise<WrkResult> {
  const wrk = await runWrk({
    ...load,
    template: buyTemplate(saleId),
    file,
    connections: CONNECTIONS,
    repeats: false,
    cores: testbed.loadCores,
    stopping: testbed.stopping,
  });
  expect(wrk.refused === 0, `${wrk.refused} buyers were refused`);
  return wrk;
}

/** For the contestants with their own stock counters. */
async function stockUp({ servers: { shards, sql } }: Testbed, saleId: string): Promise<void> {
  await shards.of(saleId).client.set(`conventional:{${saleId}}:stock`, STOCK);
  await sql`INSERT INTO sql_stock (sale_id, remaining) VALUES (${saleId}, ${STOCK})`;
}

async function expectRows(
  { servers: { sql } }: Testbed,
  table: string,
  saleId: string,
  { requests }: WrkResult,
): Promise<void> {
  const [found] = await sql<{ rows: number }[]>`
    SELECT count(*)::int AS rows FROM ${sql(table)} WHERE sale_id = ${saleId}`;
  const rows = found!.rows;
  expect(
    rows >= requests && rows <= requests + CONNECTIONS,
    `${requests} responses were 201 and ${table} has ${rows} rows`,
  );
}
