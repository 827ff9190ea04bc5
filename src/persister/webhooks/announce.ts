/**
 * What becomes of a sale as a whole: opened, sold out, restocked, ended. Nothing announces these by itself (a clock
 * opens and ends a sale, the sum of many purchases sells it out), so each sale is looked at again and again, and what
 * is seen is compared with what was last announced. What comes and goes between two looks is not announced.
 *
 * Several persisters look. Each decides under the lock of the sale's row in `sale_announcements`, from the row as it is
 * then, and writes the deliveries in the same transaction: one announces, the others find it announced.
 */
import type { Logger } from 'pino';
import { Fault } from '../../domain/fault.ts';
import { availableOf, effectiveStatus, type SaleStatus } from '../../domain/sale.ts';
import { type SaleWebhookEvent, saleMessage } from '../../domain/webhook.ts';
import { readSale, type SaleState } from '../../lua/read/read-sale.ts';
import type { Sql, Transaction } from '../../postgres/connection.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Database } from '../database/database.ts';
import { enqueue, subscribersOf } from '../write/outbox.ts';
import type { WebhookMetrics } from './metrics.ts';

/** Sales that are looked at in one go. */
const LOOKS_AT_ONCE = 50;
/** A look that took longer is not acted on. One that is newer by more is none: Redis' clock has been set back since. */
const LOOK_MS_MAX = 60_000;

export interface Announced {
  /** `waiting`: not opened yet, as far as was announced. */
  phase: 'waiting' | 'opened' | 'ended';
  soldOut: boolean;
}

export interface Seen {
  status: SaleStatus;
  hasStarted: boolean;
  soldOut: boolean;
}

/**
 * What is to be announced now, in order, and what has then been announced. A pause announces nothing: what was
 * announced stays true after it. An end that was put off after it had come is followed by another opening.
 */
export function decide(
  announced: Announced,
  seen: Seen,
): { events: SaleWebhookEvent[]; next: Announced } {
  const events: SaleWebhookEvent[] = [];
  const next = { ...announced };
  if (seen.status === 'ended') {
    if (announced.phase !== 'ended') events.push('sale.ended');
    return { events, next: { ...next, phase: 'ended' } };
  }
  if (announced.phase !== 'opened') {
    if (seen.status !== 'open' || !seen.hasStarted) return { events, next };
    events.push('sale.opened');
    next.phase = 'opened';
  }
  if (seen.soldOut !== announced.soldOut) {
    events.push(seen.soldOut ? 'sale.sold_out' : 'sale.restocked');
    next.soldOut = seen.soldOut;
  }
  return { events, next };
}

interface AnnouncerContext {
  database: Database;
  shards: Shards;
  log: Logger;
  metrics: WebhookMetrics;
}

interface SaleToLookAt extends Announced {
  saleId: string;
}

export class Announcer {
  readonly #context: AnnouncerContext;

  constructor(context: AnnouncerContext) {
    this.#context = context;
  }

  /** Looks once at every sale of which something may have to be announced. */
  async look(): Promise<void> {
    const sales = await this.#context.database.run(salesToLookAt);
    for (let from = 0; from < sales.length; from += LOOKS_AT_ONCE) {
      await Promise.all(sales.slice(from, from + LOOKS_AT_ONCE).map((sale) => this.#lookAt(sale)));
    }
  }

  async #lookAt(sale: SaleToLookAt): Promise<void> {
    const { database, shards, log, metrics } = this.#context;
    const { saleId } = sale;
    const lookedAt = performance.now();
    const state = await readKnown(shards, saleId);
    if (!state) return;
    // An ended one was touched; that it was looked at after that is written down too.
    if (sale.phase !== 'ended' && decide(sale, seenIn(state)).events.length === 0) return;
    const events = await database.run((sql) => announce(sql, saleId, state, lookedAt));
    for (const event of events) {
      metrics.announced.inc({ event });
      log.info({ saleId, event }, 'sale announced');
    }
  }
}

/** All but drafts and those whose end has been announced, unless touched since; a minute, for Redis hears of it later. */
function salesToLookAt(sql: Sql): Promise<SaleToLookAt[]> {
  return sql<SaleToLookAt[]>`
    SELECT s.sale_id, coalesce(a.phase, 'waiting') AS phase, coalesce(a.sold_out, false) AS sold_out
    FROM sales AS s LEFT JOIN sale_announcements AS a USING (sale_id)
    WHERE s.status <> 'draft' AND (a.phase IS DISTINCT FROM 'ended' OR s.updated_at > a.updated_at - interval '1 minute')`;
}

/** Undefined: Redis is away, or does not know the sale, or it is being recovered; the next look will tell. */
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
    soldOut: stock.every((each) => availableOf(each) === 0),
  };
}

async function announce(
  sql: Sql,
  saleId: string,
  state: SaleState,
  lookedAt: number,
): Promise<SaleWebhookEvent[]> {
  return sql.begin<SaleWebhookEvent[]>(async (transaction) => {
    const announced = await lockAnnounced(transaction, saleId);
    // Somebody has acted on a newer look.
    const aheadMs = announced.lookedAtMs - state.nowMs;
    if (aheadMs >= 0 && aheadMs <= LOOK_MS_MAX) return [];
    if (performance.now() - lookedAt > LOOK_MS_MAX) return [];
    const seen = seenIn(state);
    const { events, next } = decide(announced, seen);
    const { definition, stock, nowMs: atMs } = state;
    const messages = events.map((event, index) => {
      const number = announced.announcements + index + 1;
      return saleMessage(event, number, { definition, stock, status: seen.status, atMs });
    });
    await enqueue(transaction, messages, await subscribersOf(transaction, saleId));
    await transaction`
      UPDATE sale_announcements
      SET phase = ${next.phase}, sold_out = ${next.soldOut}, looked_at_ms = ${atMs},
        announcements = announcements + ${events.length}, updated_at = now()
      WHERE sale_id = ${saleId}`;
    return events;
  });
}

async function lockAnnounced(
  transaction: Transaction,
  saleId: string,
): Promise<Announced & { announcements: number; lookedAtMs: number }> {
  await transaction`
    INSERT INTO sale_announcements (sale_id) VALUES (${saleId}) ON CONFLICT DO NOTHING`;
  const [row] = await transaction<(Announced & { announcements: number; lookedAtMs: number })[]>`
    SELECT phase, sold_out, announcements, looked_at_ms FROM sale_announcements
    WHERE sale_id = ${saleId} FOR UPDATE`;
  return row!;
}
