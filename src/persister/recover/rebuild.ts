/**
 * Rebuilds a sale in Redis from PostgreSQL: reservations in the order of their positions, stock from the ledger less held
 * and confirmed units, the definition of the last operation. The waitlist is not in PostgreSQL; the members that Redis
 * still has are kept, except for those that were served since.
 *
 * Everything is staged beside the closed sale, and one call puts it in place.
 */
import { Fault } from '../../domain/fault.ts';
import { formatGaps } from '../../domain/positions.ts';
import { parseWaitlistMember, waitingField } from '../../domain/waitlist.ts';
import { saleKey } from '../../lua/keys.ts';
import type { RebuiltSale } from '../../lua/recover/finish-rebuild.ts';
import type { Transaction } from '../../postgres/connection.ts';
import type { SettledOperation } from '../../postgres/settle-operation.ts';
import type { PinnedServer } from '../../redis/shard.ts';
import { readRows } from './rebuild-rows.ts';
import { type Rebuilder, RebuildStage, type WaitingMember } from './rebuild-stage.ts';
import { offerFor, SoldTotals, stockOf } from './rebuild-stock.ts';

/** Waitlist members per read. */
const MEMBERS_PER_READ = 1_000;

export interface RebuildPlan extends Rebuilder {
  /** The last event that PostgreSQL has. */
  events: number;
  /** The last position that may have been returned to a buyer. */
  position: number;
  /** Called once everything is staged, with the pending operations counted in. False: another recovery came between. */
  beforeOpening: (countedIn: readonly SettledOperation[]) => Promise<boolean>;
}

/** `removed`: no operation was ever applied, so there is nothing to sell. */
export interface Rebuilt {
  outcome: 'rebuilt' | 'removed';
  reservations: number;
  holds: number;
  waiting: number;
  operation: number;
}

export interface Blocked {
  outcome: 'blocked';
  /** The cause, and what an operator can do. */
  why: string;
}

/** `superseded`: another recovery came between, and the sale is as that one left it. Throws errors of both servers. */
export async function rebuild(
  server: PinnedServer,
  transaction: Transaction,
  plan: RebuildPlan,
): Promise<Rebuilt | Blocked | 'superseded'> {
  const { saleId } = plan;
  const letters = await unresolvedLetters(transaction, saleId);
  if (letters > 0) {
    return blocked(
      `${letters} decisions are dead letters and would be lost: retry or discard them`,
    );
  }
  const stage = new RebuildStage(server, plan);
  try {
    return await rebuildOn(stage, server, transaction, plan);
  } catch (error) {
    if (!(error instanceof Fault && error.code === 'out_of_memory')) throw error;
    await stage.discard();
    return blocked(
      'Redis is full, and a rebuild needs memory beside the old data: raise maxmemory, or remove other keys',
    );
  }
}

async function rebuildOn(
  stage: RebuildStage,
  server: PinnedServer,
  transaction: Transaction,
  plan: RebuildPlan,
): Promise<Rebuilt | Blocked | 'superseded'> {
  const { saleId } = plan;
  // Reserves the stage before the first read, so that this rebuild cannot overtake a later one that reads more.
  if (!(await stage.send())) return 'superseded';
  const sold = new SoldTotals();
  for await (const rows of readRows(transaction, saleId)) {
    for (const row of rows) {
      sold.count(row);
      stage.addReservation(row);
      if (stage.isFull && !(await stage.send())) return 'superseded';
    }
  }
  const waiting = new Map<string, number>();
  let lastTicket = sold.lastTicket;
  for await (const members of readWaitlist(server, saleId)) {
    // PostgreSQL ends transactions that are idle for long, and their locks with them.
    await transaction`SELECT 1`;
    for (const member of members) {
      lastTicket = Math.max(lastTicket, member.ticket);
      if (sold.tickets.has(member.ticket)) continue;
      waiting.set(member.sku, (waiting.get(member.sku) ?? 0) + 1);
      stage.addWaiting(member);
      if (stage.isFull && !(await stage.send())) return 'superseded';
    }
  }

  const offer = await offerFor(transaction, saleId, sold);
  if ('why' in offer) {
    await stage.discard();
    return blocked(offer.why);
  }
  const sale: RebuiltSale | undefined = offer.definition && {
    definition: offer.definition,
    stock: stockOf(offer, sold, waiting),
    operation: offer.operation,
    operationOutcome: offer.outcome,
    position: plan.position,
    events: plan.events,
    gaps: formatGaps(sold.gapsUpTo(plan.position)),
    tickets: lastTicket,
  };
  const isFinished = await stage.finish(sale, () => plan.beforeOpening(offer.countedIn));
  if (!isFinished) return 'superseded';
  return {
    outcome: sale ? 'rebuilt' : 'removed',
    reservations: sold.reservations,
    holds: stage.holds,
    waiting: stage.waiting,
    operation: offer.operation,
  };
}

function blocked(why: string): Blocked {
  return { outcome: 'blocked', why };
}

async function unresolvedLetters(transaction: Transaction, saleId: string): Promise<number> {
  const [row] = await transaction<{ count: number }[]>`
    SELECT count(*) AS count FROM dead_letters WHERE sale_id = ${saleId} AND resolved_at IS NULL`;
  return row!.count;
}

/** The waitlist members that this server still has, in pages. */
async function* readWaitlist(
  server: PinnedServer,
  saleId: string,
): AsyncGenerator<WaitingMember[]> {
  for (let from = 0; ; from += MEMBERS_PER_READ) {
    const members = await server.client.zrange(
      saleKey(saleId, 'line'),
      String(from),
      String(from + MEMBERS_PER_READ - 1),
    );
    if (members.length === 0) return;
    yield members.map((member) => {
      const { sku, ticket, buyerId } = parseWaitlistMember(member);
      return { member, sku, ticket, field: waitingField(buyerId, sku) };
    });
  }
}
