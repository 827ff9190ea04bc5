/**
 * Opens a sale again that closed by itself because its Redis server restarted: everything that the server still has
 * goes to PostgreSQL, then the two are compared, and only where Redis knows at least as much does the sale sell on.
 * A sale of which Redis knows less stays closed: rebuilding it starts where `stillClosed` reports it.
 */
import { nanoid } from 'nanoid';
import type { Logger } from 'pino';
import { readSale } from '../lua/read-sale.ts';
import { renewFence } from '../lua/renew-fence.ts';
import type { Sql, Transaction } from '../postgres/connection.ts';
import type { Shards } from '../redis/shards.ts';
import type { PersisterMetrics } from './metrics.ts';
import { type PersistTools, persist } from './persist.ts';
import type { SaleStream } from './stream.ts';
import { lockSale } from './write-batch.ts';

const ENTRIES_PER_READ = 20;
const EVERYTHING = '0-0';

export interface RecoveryTools extends PersistTools {
  shards: Shards;
  closedSales: ClosedSales;
}

/**
 * `open`: it can be drained. `busy`: somebody else is at it, ask again soon. `absent`: nowhere but in its definition.
 * `closed`: Redis knows less of it than PostgreSQL.
 */
export type SaleCondition = 'open' | 'busy' | 'absent' | 'closed';

/** Finds out whether a sale can be drained, and recovers it where that is what it takes. */
export async function openSale(tools: RecoveryTools, stream: SaleStream): Promise<SaleCondition> {
  const { saleId } = stream;
  const reply = await tools.shards.call(readSale, saleId, saleId);
  if (reply.outcome === 'recovering') return recover(tools, stream);
  if (reply.outcome === 'known') {
    await stream.ensureGroup();
    tools.closedSales.remove(saleId);
    return 'open';
  }
  if (!(await tools.database.run((sql) => wasInRedis(sql, saleId)))) return 'absent';
  return stillClosed(tools, saleId, 'unknown_sale');
}

async function recover(tools: RecoveryTools, stream: SaleStream): Promise<SaleCondition> {
  const { saleId } = stream;
  const stopTimer = tools.metrics.recoverySeconds.startTimer();
  const result = await tools.database.once((sql) => underLock(sql, tools, stream));
  switch (result.outcome) {
    case 'busy':
      return 'busy';
    case 'behind':
    case 'unknown_sale':
      return stillClosed(tools, saleId, result.outcome);
    case 'renewed': {
      const seconds = stopTimer();
      tools.log.info({ saleId, seconds, events: result.events }, 'sale recovered, it sells again');
      await tools.shards.publishChanged(saleId);
      await tools.database.run(
        (sql) => sql`
          INSERT INTO audit_log (actor, action, sale_id, request_id, details)
          VALUES ('persister', 'recover', ${saleId}, ${nanoid()},
            ${sql.json({ seconds, events: result.events, checkpoint: result.checkpoint })})`,
      );
      break;
    }
    case 'already':
      break;
  }
  tools.closedSales.remove(saleId);
  return 'open';
}

interface RecoveryResult {
  outcome: 'busy' | 'renewed' | 'already' | 'behind' | 'unknown_sale';
  events: number;
  checkpoint: string;
}

/** One recovery a sale at a time; it ends with the transaction, so also when this process dies. */
async function underLock(
  sql: Sql,
  tools: RecoveryTools,
  stream: SaleStream,
): Promise<RecoveryResult> {
  return sql.begin<RecoveryResult>(async (transaction) => {
    const busy = { outcome: 'busy', events: 0, checkpoint: EVERYTHING } as const;
    if (!(await lockSale(transaction, stream.saleId))) return busy;
    if (!(await drainCompletely(tools, stream))) return busy;
    // Reading it by this transaction also proves that the lock is still ours.
    const known = await checkpointOf(transaction, stream.saleId);
    return { ...known, outcome: await tools.shards.call(renewFence, stream.saleId, known) };
  });
}

/**
 * Also what other consumers have read and not acknowledged, dead or alive: writing it twice is harmless, missing it
 * is not. False when the server changed meanwhile.
 */
async function drainCompletely(tools: RecoveryTools, stream: SaleStream): Promise<boolean> {
  await stream.ensureGroup();
  let from = EVERYTHING;
  do {
    const page = await stream.claim(0, from, ENTRIES_PER_READ);
    if ((await persist(tools, stream, page, 'held')).outcome === 'outdated') return false;
    from = page.next;
  } while (from !== EVERYTHING);
  for (;;) {
    const delivery = await stream.readNew(ENTRIES_PER_READ);
    if (delivery.entries.length === 0) return true;
    if ((await persist(tools, stream, delivery, 'held')).outcome === 'outdated') return false;
  }
}

async function checkpointOf(
  transaction: Transaction,
  saleId: string,
): Promise<{ events: number; checkpoint: string }> {
  const [row] = await transaction<{ entryMs: number; entrySequence: number; event: number }[]>`
    SELECT entry_ms, entry_sequence, event FROM checkpoints WHERE sale_id = ${saleId}`;
  if (!row) return { events: 0, checkpoint: EVERYTHING };
  return { events: row.event, checkpoint: `${row.entryMs}-${row.entrySequence}` };
}

/** Whether Redis must know the sale: it took an operation of it, or decided something. */
async function wasInRedis(sql: Sql, saleId: string): Promise<boolean> {
  const [row] = await sql<{ was: boolean }[]>`
    SELECT EXISTS (SELECT FROM checkpoints WHERE sale_id = ${saleId})
      OR EXISTS (SELECT FROM sale_operations WHERE sale_id = ${saleId} AND outcome = 'applied') AS was`;
  return row?.was === true;
}

function stillClosed(
  tools: RecoveryTools,
  saleId: string,
  why: 'behind' | 'unknown_sale',
): SaleCondition {
  tools.closedSales.add(saleId, why);
  return 'closed';
}

const CLOSED_BECAUSE = {
  behind: 'redis lost decisions that postgres has; the sale stays closed',
  unknown_sale: 'redis no longer knows the sale; it stays closed',
} as const;

/** The sales that could not be recovered: each is reported once, and counted for as long as it lasts. */
export class ClosedSales {
  readonly #saleIds = new Set<string>();
  readonly #log: Logger;
  readonly #metrics: PersisterMetrics;

  constructor(tools: { log: Logger; metrics: PersisterMetrics }) {
    this.#log = tools.log;
    this.#metrics = tools.metrics;
  }

  add(saleId: string, why: keyof typeof CLOSED_BECAUSE): void {
    if (!this.#saleIds.has(saleId)) this.#log.error({ saleId }, CLOSED_BECAUSE[why]);
    this.#saleIds.add(saleId);
    this.#metrics.notRecovered.set(this.#saleIds.size);
  }

  remove(saleId: string): void {
    this.#saleIds.delete(saleId);
    this.#metrics.notRecovered.set(this.#saleIds.size);
  }
}
