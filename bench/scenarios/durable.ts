/**
 * A win with its row durable: counted are rows that PostgreSQL has committed, over the time from the first request until
 * the last row is there. Nothing is placed on cores: the whole stack shares the machine, as do the others.
 */
import { join } from 'node:path';
import { buy } from '../../harness/engine/sales.ts';
import { eventually } from '../../harness/eventually.ts';
import { saleKey } from '../../src/lua/keys.ts';
import {
  ENGINE,
  SQL,
  startEngine,
  startPersister,
  startSql,
  startUsual,
  USUAL,
} from '../contestants.ts';
import { type Buyers, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, type Press, type Pressed, percentile, press } from '../load/wrk.ts';
import { takeTurns } from '../rounds.ts';
import { demand } from '../sanity.ts';
import type { Scenario } from '../scenario.ts';
import { openStage, type Stage, type Started } from '../testbed.ts';

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
  title: 'Every request wins, and its row is durable',
  async run(options) {
    const stage = await openStage({ stopping: options.stopping });
    try {
      const buyers = await writeDurableBuyers(stage, options.seconds);
      await startPersister(stage);
      const contestants: Record<string, Started> = {
        [ENGINE]: await startEngine(stage),
        [USUAL]: await startUsual(stage, 'durable'),
        [SQL]: await startSql(stage),
      };
      const tables: Record<string, string> = { [USUAL]: 'usual_orders', [SQL]: 'sql_orders' };
      const curves: Record<string, [number, number][]> = {};
      const rounds = await takeTurns(options, Object.keys(contestants), async (name) => {
        const load = { port: contestants[name]!.port, seconds: options.seconds };
        if (name === ENGINE) {
          const { pressed, rows, drainSeconds } = await sellDurably(stage, buyers, load);
          await emptyTables(stage, ENGINE_TABLES);
          curves[name] = pressed.latencyMs;
          return {
            perSecond: rows / (pressed.seconds + drainSeconds),
            toldPerSecond: pressed.perSecond,
            drainSeconds,
            p99Ms: percentile(pressed, 99),
          };
        }
        const saleId = await stage.openSale({ stock: STOCK });
        await stockUp(stage, saleId);
        const pressed = await pressAll(stage, saleId, buyers, load);
        await demandRows(stage, tables[name]!, saleId, pressed);
        await emptyTables(stage, [tables[name]!]);
        curves[name] = pressed.latencyMs;
        return {
          // Whoever was told yes has a row, so nothing is left to wait for.
          perSecond: pressed.perSecond,
          toldPerSecond: pressed.perSecond,
          drainSeconds: 0,
          p99Ms: percentile(pressed, 99),
        };
      });
      const rows = { metric: 'perSecond', of: ENGINE };
      return {
        settings: { connections: CONNECTIONS, durability: stage.durability, cores: 'shared' },
        rounds,
        comparisons: [
          { what: 'durable wins a second, engine ÷ usual', ...rows, over: USUAL, atLeast: 10 },
          { what: 'durable wins a second, engine ÷ SQL', ...rows, over: SQL },
          { what: 'durable wins a second', ...rows, unit: 'rows a second' },
        ],
        curves,
      };
    } finally {
      await stage.close();
    }
  },
};

export function writeDurableBuyers(stage: Stage, seconds: number): Promise<Buyers> {
  return writeBuyers(join(stage.directory, 'buyers'), {
    name: 'durable',
    count: BUYERS,
    purchasesEach: Math.ceil((WINS_PER_SECOND_MAX * seconds) / BUYERS),
  });
}

type Load = Pick<Press, 'port' | 'seconds'> & { perSecond?: number };

/** A sale of the engine, from the first request to the last row. */
export async function sellDurably(stage: Stage, buyers: Buyers, load: Load, watch?: Watch) {
  const saleId = await stage.openSale({ stock: STOCK, perBuyerLimit: LIMIT });
  const { shards, sql } = stage.servers;
  // The persister has to have heard of the sale, or its first second would be spent on that.
  await buy(shards, saleId, ['the-first']);
  await eventually(async () => demandDurable(await durableRows(stage, saleId), 1), DRAIN);
  const watching = watch?.(saleId);
  const pressed = await pressAll(stage, saleId, buyers, load);
  const pressedAt = performance.now();
  const sold = await shards.of(saleId).client.llen(saleKey(saleId, 'order'));
  // One of them is the first buyer's.
  demand(
    sold > pressed.requests && sold <= pressed.requests + 1 + CONNECTIONS,
    `${pressed.requests} buyers were told yes and ${sold - 1} reservations exist`,
  );
  await eventually(async () => demandDurable(await durableRows(stage, saleId), sold), DRAIN);
  const drainSeconds = (performance.now() - pressedAt) / 1e3;
  await watching?.();
  const [found] = await sql<{ rows: number }[]>`
    SELECT count(*)::int AS rows FROM reservations WHERE sale_id = ${saleId}`;
  demand(found!.rows === sold, `${sold} were sold and ${found!.rows} rows exist`);
  return { saleId, pressed, rows: sold - 1, drainSeconds };
}

/** Called before the load begins; what it returns, when the last row is there. */
export type Watch = (saleId: string) => () => Promise<void>;

/** Decisions of a sale that are committed, by its checkpoint, which is written in their transaction. */
export async function durableRows({ servers }: Stage, saleId: string): Promise<number> {
  const [row] = await servers.sql<{ event: string }[]>`
    SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
  return Number(row?.event ?? 0);
}

/** What earlier rounds wrote must not slow the later ones: the tables are emptied and PostgreSQL brought to rest. */
export async function emptyTables(
  { servers: { sql } }: Stage,
  names: readonly string[],
): Promise<void> {
  await sql`TRUNCATE ${sql.unsafe(names.join(', '))}`;
  await sql`CHECKPOINT`;
}

function demandDurable(rows: number, expected: number): void {
  if (rows < expected) throw new Error(`${rows} of ${expected} rows are durable`);
}

async function pressAll(
  stage: Stage,
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
    cores: stage.loadCores,
    stopping: stage.stopping,
  });
  demand(pressed.refused === 0, `${pressed.refused} buyers were refused`);
  return pressed;
}

/** For those who keep their stock elsewhere. */
async function stockUp({ servers: { shards, sql } }: Stage, saleId: string): Promise<void> {
  await shards.of(saleId).client.set(`usual:{${saleId}}:stock`, STOCK);
  await sql`INSERT INTO sql_stock (sale_id, remaining) VALUES (${saleId}, ${STOCK})`;
}

async function demandRows(
  { servers: { sql } }: Stage,
  table: string,
  saleId: string,
  { requests }: Pressed,
): Promise<void> {
  const [found] = await sql<{ rows: number }[]>`
    SELECT count(*)::int AS rows FROM ${sql(table)} WHERE sale_id = ${saleId}`;
  const rows = found!.rows;
  demand(
    rows >= requests && rows <= requests + CONNECTIONS,
    `${requests} buyers were told yes and ${table} has ${rows} rows`,
  );
}
