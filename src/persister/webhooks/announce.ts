/**
 * Announces changes of whole sales and of their SKUs: opened, sold out, restocked, ended. No single call causes these: a clock opens and
 * ends a sale, and many purchases together sell it out. So each sale that was active is checked every second and compared
 * with what was last announced. A change that is undone between two checks is not announced. All sales are checked every
 * minute, because hints of activity can be lost.
 *
 * Every persister checks. Each decides under the lock of the sale's row in `sale_announcements` and writes the deliveries
 * in the same transaction: one announces, the others find it announced.
 */
import { Fault } from '../../domain/fault.ts';
import { REHEARSALS_LIKE } from '../../domain/rehearsal.ts';
import { availableOf, effectiveStatus, type SaleStatus } from '../../domain/sale.ts';
import { type Announcement, saleMessage } from '../../domain/webhook.ts';
import { readSale, type SaleState } from '../../lua/read/read-sale.ts';
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import { enqueue, subscribersOf } from '../../postgres/outbox.ts';
import type { Shards } from '../../redis/shards.ts';
import type { PersisterContext } from '../context.ts';

/** Sales checked concurrently. */
const CHECKS_AT_ONCE = 50;
/** A check older than this is ignored. A stored one that is newer by more is ignored too: Redis' clock was set back. */
const CHECK_MS_MAX = 60_000;
const CHECK_ALL_MS = 60_000;

export interface Announced {
  /** `waiting`: the opening has not been announced. */
  phase: 'waiting' | 'opened' | 'ended';
  soldOut: boolean;
  soldOutSkus: string[];
}

export interface Seen {
  status: SaleStatus;
  hasStarted: boolean;
  skus: { sku: string; soldOut: boolean }[];
}

/**
 * Returns the events to announce, in order, and what has been announced then. A pause announces nothing. If the end is
 * moved to later after it was announced, another opening follows.
 */
export function decide(
  announced: Announced,
  seen: Seen,
): { events: Announcement[]; next: Announced } {
  const events: Announcement[] = [];
  const next = { ...announced };
  if (seen.status === 'ended') {
    if (announced.phase !== 'ended') events.push({ type: 'sale.ended' });
    return { events, next: { ...next, phase: 'ended' } };
  }
  if (announced.phase !== 'opened') {
    if (seen.status !== 'open' || !seen.hasStarted) return { events, next };
    events.push({ type: 'sale.opened' });
    next.phase = 'opened';
  }
  for (const { sku, soldOut } of seen.skus) {
    if (soldOut === announced.soldOutSkus.includes(sku)) continue;
    events.push({ type: soldOut ? 'sku.sold_out' : 'sku.restocked', sku });
  }
  next.soldOutSkus = seen.skus.filter(({ soldOut }) => soldOut).map(({ sku }) => sku);
  next.soldOut = seen.skus.every(({ soldOut }) => soldOut);
  if (next.soldOut !== announced.soldOut) {
    events.push({ type: next.soldOut ? 'sale.sold_out' : 'sale.restocked' });
  }
  return { events, next };
}

type SaleToCheck = Announced & { saleId: string };

export class Announcer {
  readonly #context: PersisterContext;
  readonly #activeSales: () => string[];
  #checkAllMs = 0;
  /** Sales with something to announce, whose check another persister's newer one has replaced. */
  #unsettled = new Set<string>();

  constructor(context: PersisterContext, activeSales: () => string[]) {
    this.#context = context;
    this.#activeSales = activeSales;
  }

  /** Checks once every sale that may have something to announce. */
  async check(): Promise<void> {
    const active = [...this.#unsettled, ...this.#activeSales()];
    const isForAll = performance.now() >= this.#checkAllMs;
    if (!isForAll && active.length === 0) return;
    const sales = await this.#context.database.run((sql) =>
      salesToCheck(sql, isForAll ? undefined : active),
    );
    this.#unsettled.clear();
    if (isForAll) this.#checkAllMs = performance.now() + CHECK_ALL_MS;
    for (let from = 0; from < sales.length; from += CHECKS_AT_ONCE) {
      const some = sales.slice(from, from + CHECKS_AT_ONCE);
      await Promise.all(
        some.map(async (sale) => {
          if (!(await check(this.#context, sale))) this.#unsettled.add(sale.saleId);
        }),
      );
    }
  }
}

/** False: the check was too old, and another one is needed. */
async function check(
  { database, shards, log, metrics }: PersisterContext,
  sale: SaleToCheck,
): Promise<boolean> {
  const { saleId } = sale;
  const checkedAt = performance.now();
  const state = await readKnown(shards, saleId);
  // Its recovery makes it active.
  if (!state) return true;
  // An ended sale was changed. The check is stored even if it announces nothing, so that it is not repeated.
  if (sale.phase !== 'ended' && decide(sale, seenIn(state)).events.length === 0) return true;
  const events = await database.run((sql) => announce(sql, saleId, state, checkedAt));
  if (!events) return false;
  for (const { type: event, ...sku } of events) {
    metrics.announced.inc({ event });
    log.info({ saleId, event, ...sku }, 'sale announced');
  }
  return true;
}

/** Excludes rehearsals, drafts, and ended sales that are announced and unchanged. A change reaches Redis up to a minute later. */
function salesToCheck(sql: Sql, among: readonly string[] | undefined): Promise<SaleToCheck[]> {
  return sql<SaleToCheck[]>`
    SELECT s.sale_id, coalesce(a.phase, 'waiting') AS phase, coalesce(a.sold_out, false) AS sold_out,
      coalesce(a.sold_out_skus, '{}') AS sold_out_skus
    FROM sales AS s LEFT JOIN sale_announcements AS a USING (sale_id)
    WHERE s.archived_at IS NULL AND s.status <> 'draft' AND s.sale_id NOT LIKE ${REHEARSALS_LIKE}
      AND (a.phase IS DISTINCT FROM 'ended' OR s.updated_at > a.updated_at - interval '1 minute')
      ${among ? sql`AND s.sale_id = ANY(${among}::text[])` : sql``}`;
}

/** Undefined: Redis is unavailable or does not know the sale, or the sale is being recovered. */
async function readKnown(shards: Shards, saleId: string): Promise<SaleState | undefined> {
  try {
    const reply = await shards.call(readSale, saleId);
    return reply.outcome === 'known' ? reply.state : undefined;
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
}

function seenIn({ definition, stock, nowMs }: SaleState): Seen {
  return {
    status: effectiveStatus(definition, nowMs),
    hasStarted: definition.startsAt === null || definition.startsAt <= nowMs,
    skus: stock.map((each) => ({ sku: each.sku, soldOut: availableOf(each) === 0 })),
  };
}

/** Undefined: the check was too old. */
async function announce(
  sql: Sql,
  saleId: string,
  state: SaleState,
  checkedAt: number,
): Promise<Announcement[] | undefined> {
  return inTransaction<Announcement[] | undefined>(sql, async (transaction) => {
    const announced = await lockAnnounced(transaction, saleId);
    const { definition, stock, nowMs: atMs } = state;
    // Another persister has stored a newer check.
    const aheadMs = announced.lookedAtMs - atMs;
    if (aheadMs >= 0 && aheadMs <= CHECK_MS_MAX) return undefined;
    if (performance.now() - checkedAt > CHECK_MS_MAX) return undefined;
    const seen = seenIn(state);
    const { events, next } = decide(announced, seen);
    const messages = events.map((event, index) => {
      const number = announced.announcements + index + 1;
      return saleMessage(event, number, { definition, stock, status: seen.status, atMs });
    });
    await enqueue(transaction, messages, await subscribersOf(transaction, saleId));
    await transaction`
      UPDATE sale_announcements
      SET phase = ${next.phase}, sold_out = ${next.soldOut}, sold_out_skus = ${next.soldOutSkus}, looked_at_ms = ${atMs},
        announcements = announcements + ${events.length}, updated_at = now()
      WHERE sale_id = ${saleId}`;
    return events;
  });
}

async function lockAnnounced(transaction: Transaction, saleId: string) {
  await transaction`
    INSERT INTO sale_announcements (sale_id) VALUES (${saleId}) ON CONFLICT DO NOTHING`;
  const [row] = await transaction<(Announced & { announcements: number; lookedAtMs: number })[]>`
    SELECT phase, sold_out, sold_out_skus, announcements, looked_at_ms FROM sale_announcements
    WHERE sale_id = ${saleId} FOR UPDATE`;
  return row!;
}
