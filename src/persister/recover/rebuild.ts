/**
 * Rebuilds a sale in Redis from PostgreSQL: reservations in the order of their positions, stock as the ledger loaded it
 * less what is reserved and confirmed, the definition as the last operation left it. The line for what is sold out is
 * not in PostgreSQL; what Redis still has of it is kept, but for those whom it has served since.
 *
 * All is staged beside the sale, which stays closed meanwhile, and put in its place by one call.
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
import { Sold } from './rebuild-sold.ts';
import { type Rebuilder, RebuildStage, type WaitingMember } from './rebuild-stage.ts';
import { offerFor, stockOf } from './rebuild-stock.ts';

/** Places in line that are read at once. */
const PLACES = 1_000;

export interface RebuildPlan extends Rebuilder {
  /** The last event that PostgreSQL has. */
  events: number;
  /** The last position that may have been told. */
  position: number;
  /** Called once, when all is staged, with what is counted in of what was pending. False: another recovery came between. */
  beforeOpening: (countedIn: readonly SettledOperation[]) => Promise<boolean>;
}

/** `removed`: no operation was ever applied, so there is nothing to be sold. */
export interface Rebuilt {
  outcome: 'rebuilt' | 'removed';
  reservations: number;
  holds: number;
  waiting: number;
  operation: number;
}

export interface Blocked {
  outcome: 'blocked';
  /** In words, with what an operator can do. */
  why: string;
}

/** `superseded`: another recovery came between, and the sale is as that one left it. Throws what the servers say. */
export async function rebuild(
  server: PinnedServer,
  transaction: Transaction,
  plan: RebuildPlan,
): Promise<Rebuilt | Blocked | 'superseded'> {
  const { saleId } = plan;
  const letters = await unresolvedLetters(transaction, saleId);
  if (letters > 0) {
    return blocked(
      `${letters} decisions are dead letters and would be forgotten: retry or discard them`,
    );
  }
  const stage = new RebuildStage(server, plan);
  try {
    return await rebuildOn(stage, server, transaction, plan);
  } catch (error) {
    if (!(error instanceof Fault && error.code === 'out_of_memory')) throw error;
    await stage.discard();
    return blocked(
      'Redis is full, and the sale is rebuilt beside what is there of it: raise maxmemory, or remove what else is in it',
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
  // The stage is taken before anything is read, so that whoever comes later and reads more is never overtaken.
  if (!(await stage.send())) return 'superseded';
  const sold = new Sold();
  for await (const rows of readRows(transaction, saleId)) {
    for (const row of rows) {
      sold.count(row);
      stage.addReservation(row);
      if (stage.isFull && !(await stage.send())) return 'superseded';
    }
  }
  const waiting = new Map<string, number>();
  let lastTicket = sold.lastTicket;
  for await (const members of readLine(server, saleId)) {
    // PostgreSQL ends transactions that are idle for long, and the locks with them.
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

/** What this server still has of the line, in portions. */
async function* readLine(server: PinnedServer, saleId: string): AsyncGenerator<WaitingMember[]> {
  for (let from = 0; ; from += PLACES) {
    const members = await server.client.zrange(
      saleKey(saleId, 'line'),
      String(from),
      String(from + PLACES - 1),
    );
    if (members.length === 0) return;
    yield members.map((member) => {
      const { sku, ticket, buyerId } = parseWaitlistMember(member);
      return { member, sku, ticket, field: waitingField(buyerId, sku) };
    });
  }
}
