/**
 * A win with its row durable: counted are rows that PostgreSQL has committed, over the time from the first request until
 * the last row is there. Nothing is placed on cores: the whole stack shares the machine, as do the others.
 */
import { join } from 'node:path';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { type Buyers, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, type Press, type Pressed, percentile, press } from '../load/wrk.ts';
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
/** Whoever takes longer to write what was sold does not keep up at all. */
const DRAIN = { timeoutMs: 120_000 };

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
          const { pressed, rows, drainSeconds } = await sellDurably(testbed, buyers, load);
          await emptyTables(testbed, ENGINE_TABLES);
          curves[name] = pressed.latencyMs;
          return {
            perSecond: rows / (pressed.seconds + drainSeconds),
            responsesPerSecond: pressed.perSecond,
            drainSeconds,
            p99Ms: percentile(pressed, 99),
          };
        }
        const saleId = await testbed.openSale({ stock: STOCK });
        await stockUp(testbed, saleId);
        const pressed = await pressAll(testbed, saleId, buyers, load);
        await expectRows(testbed, tables[name]!, saleId, pressed);
        await emptyTables(testbed, [tables[name]!]);
        curves[name] = pressed.latencyMs;
        return {
          // Whoever was told yes has a row, so nothing is left to wait for.
          perSecond: pressed.perSecond,
          responsesPerSecond: pressed.perSecond,
          drainSeconds: 0,
          p99Ms: percentile(pressed, 99),
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

type Load = Pick<Press, 'port' | 'seconds'> & { perSecond?: number };

/** A sale of the engine, from the first request to the last row. */
export async function sellDurably(testbed: Testbed, buyers: Buyers, load: Load, watch?: Watch) {
  const saleId = await testbed.openSale({ stock: STOCK, perBuyerLimit: LIMIT });
  const { shards, sql } = testbed.servers;
  // The persister has to have heard of the sale, or its first second would be spent on that.
  await buy(shards, saleId, ['the-first']);
  await eventually(async () => expectDurable(await durableRows(testbed, saleId), 1), DRAIN);
  const watching = watch?.(saleId);
  const pressed = await pressAll(testbed, saleId, buyers, load);
  const pressedAt = performance.now();
  const sold = await shards.of(saleId).client.llen(saleKey(saleId, 'order'));
  // One of them is the first buyer's.
  expect(
    sold > pressed.requests && sold <= pressed.requests + 1 + CONNECTIONS,
    `${pressed.requests} buyers were told yes and ${sold - 1} reservations exist`,
  );
  await eventually(async () => expectDurable(await durableRows(testbed, saleId), sold), DRAIN);
  const drainSeconds = (performance.now() - pressedAt) / 1e3;
  await watching?.();
  const [found] = await sql<{ rows: number }[]>`
    SELECT count(*)::int AS rows FROM reservations WHERE sale_id = ${saleId}`;
  expect(found!.rows === sold, `${sold} were sold and ${found!.rows} rows exist`);
  return { saleId, pressed, rows: sold - 1, drainSeconds };
}

/** Called before the load begins; what it returns, when the last row is there. */
export type Watch = (saleId: string) => () => Promise<void>;

/** Decisions of a sale that are committed, by its checkpoint, which is written in their transaction. */
export async function durableRows({ servers }: Testbed, saleId: string): Promise<number> {
  const [row] = await servers.sql<{ event: string }[]>`
    SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
  return Number(row?.event ?? 0);
}

/** What earlier rounds wrote must not slow the later ones: the tables are emptied and PostgreSQL brought to rest. */
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

async function pressAll(
  testbed: Testbed,
  saleId: string,
  { file }: Buyers,
  load: Load,
): Promise<Pressed> {
  const pressed = await press({
    ...load,
    template: buyTemplate(saleId),
    file,
    connections: CONNECTIONS,
    repeats: false,
    cores: testbed.loadCores,
    stopping: testbed.stopping,
  });
  expect(pressed.refused === 0, `${pressed.refused} buyers were refused`);
  return pressed;
}

/** For those who keep their stock elsewhere. */
async function stockUp({ servers: { shards, sql } }: Testbed, saleId: string): Promise<void> {
  await shards.of(saleId).client.set(`conventional:{${saleId}}:stock`, STOCK);
  await sql`INSERT INTO sql_stock (sale_id, remaining) VALUES (${saleId}, ${STOCK})`;
}

async function expectRows(
  { servers: { sql } }: Testbed,
  table: string,
  saleId: string,
  { requests }: Pressed,
): Promise<void> {
  const [found] = await sql<{ rows: number }[]>`
    SELECT count(*)::int AS rows FROM ${sql(table)} WHERE sale_id = ${saleId}`;
  const rows = found!.rows;
  expect(
    rows >= requests && rows <= requests + CONNECTIONS,
    `${requests} buyers were told yes and ${table} has ${rows} rows`,
  );
}
