/**
 * Rebuilds a sale in Redis from PostgreSQL: reservations in the order of their positions, stock as the ledger loaded it
 * less what is reserved and confirmed, the definition as the last operation left it. The line for what is sold out is
 * not in PostgreSQL; what Redis still has of it is kept, but for those whom it has served since.
 *
 * All is staged beside the sale, which stays closed meanwhile, and put in its place by one call.
 */
import { formatGaps, type Gap } from '../domain/positions.ts';
import type { PricedItem, ReservationStatus } from '../domain/reservation.ts';
import type { SaleDefinition, SkuStock } from '../domain/sale.ts';
import type { StockChange } from '../lua/apply-operation.ts';
import type { RebuiltSale } from '../lua/finish-rebuild.ts';
import { saleKey } from '../lua/keys.ts';
import type { Transaction } from '../postgres/connection.ts';
import type { Shards } from '../redis/shards.ts';
import { RebuildStage, type WaitingMember } from './rebuild-stage.ts';

/** Rows and places of one portion: a call of a few milliseconds. */
const PORTION = 1_000;

export interface RebuildPlan {
  saleId: string;
  timeline: number;
  /** The last event that PostgreSQL has. */
  events: number;
  /** The last position that may have been told. */
  position: number;
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
  shards: Shards,
  transaction: Transaction,
  plan: RebuildPlan,
): Promise<Rebuilt | Blocked | 'superseded'> {
  const { saleId } = plan;
  const letters = await unresolvedLetters(transaction, saleId);
  if (letters > 0) {
    return blocked(`${letters} decisions are dead letters and would be forgotten: retry them`);
  }
  const stage = new RebuildStage(shards, saleId, plan.timeline);
  const sold = new Sold();
  const rows = transaction<ReservationRow[]>`
    SELECT buyer_id, status, items, position, version, idempotency_key, reserved_at, expires_at,
      split_part(reservation_id, '_', 3) AS tag
    FROM reservations WHERE sale_id = ${saleId} ORDER BY position`;
  for await (const portion of rows.cursor(PORTION)) {
    for (const row of portion) {
      sold.count(row);
      stage.addReservation(row);
    }
    if (!(await stage.send())) return 'superseded';
  }
  const waiting = new Map<string, number>();
  let lastTicket = sold.lastTicket;
  for await (const members of readLine(shards, saleId)) {
    for (const member of members) {
      lastTicket = Math.max(lastTicket, member.ticket);
      if (sold.tickets.has(member.ticket)) continue;
      waiting.set(member.sku, (waiting.get(member.sku) ?? 0) + 1);
      stage.addWaiting(member);
    }
    if (!(await stage.send())) return 'superseded';
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
  if (!(await stage.finish(sale))) return 'superseded';
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

export interface ReservationRow {
  buyerId: string;
  status: ReservationStatus;
  items: PricedItem[];
  position: number;
  tag: string;
  version: number;
  idempotencyKey: string;
  reservedAt: Date;
  expiresAt: Date;
}

/** What the rows come to. */
class Sold {
  reservations = 0;
  lastTicket = 0;
  /** Places in line that were served. */
  readonly tickets = new Set<number>();
  readonly units = new Map<string, { held: number; confirmed: number }>();
  readonly #gaps: Gap[] = [];
  #lastPosition = 0;

  count(row: ReservationRow): void {
    this.reservations += 1;
    this.#findGap(row.position - 1);
    this.#lastPosition = row.position;
    const ticket = /^waitlist (\d+)$/.exec(row.idempotencyKey)?.[1];
    if (ticket !== undefined) {
      this.tickets.add(Number(ticket));
      this.lastTicket = Math.max(this.lastTicket, Number(ticket));
    }
    for (const { sku, quantity } of row.items) {
      let units = this.units.get(sku);
      if (!units) {
        units = { held: 0, confirmed: 0 };
        this.units.set(sku, units);
      }
      if (row.status === 'reserved') units.held += quantity;
      if (row.status === 'confirmed') units.confirmed += quantity;
    }
  }

  /** PostgreSQL has the decisions from the first on without gaps, so what lacks a row was left out. */
  gapsUpTo(position: number): Gap[] {
    this.#findGap(position);
    return this.#gaps;
  }

  #findGap(before: number): void {
    const count = before - this.#lastPosition;
    if (count > 0) this.#gaps.push({ after: this.#lastPosition, count });
  }
}

/** What is on offer: an operation's definition, and what was loaded up to it. */
interface Offer {
  operation: number;
  outcome: string;
  /** Undefined: nothing was ever applied. */
  definition: SaleDefinition | undefined;
  loaded: Map<string, number>;
}

/**
 * By the operations that PostgreSQL knows as done. One more may have been done without its knowing; it is counted in
 * only where what was sold can't be explained without it, else it is applied, once, when the sale is open.
 */
async function offerFor(
  transaction: Transaction,
  saleId: string,
  sold: Sold,
): Promise<Offer | { why: string }> {
  const offer = await settledOffer(transaction, saleId);
  const shortage = shortageOf(offer, sold);
  if (!shortage) return offer;
  const [pending] = await transaction<
    { operation: number; definition: SaleDefinition; changes: StockChange[] }[]
  >`
    SELECT operation, definition, changes FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'pending' ORDER BY operation LIMIT 1`;
  if (pending) {
    const { operation, definition, changes } = pending;
    const loaded = new Map(offer.loaded);
    for (const { sku, delta } of changes) loaded.set(sku, (loaded.get(sku) ?? 0) + delta);
    const more = { operation, outcome: 'applied', definition, loaded };
    if (!shortageOf(more, sold)) return more;
  }
  return {
    why: `more was promised than is loaded (${shortage}): load what is missing, or end the sale`,
  };
}

async function settledOffer(transaction: Transaction, saleId: string): Promise<Offer> {
  const [last] = await transaction<{ operation: number; outcome: string }[]>`
    SELECT operation, outcome FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome <> 'pending' ORDER BY operation DESC LIMIT 1`;
  const [applied] = await transaction<{ definition: SaleDefinition }[]>`
    SELECT definition FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'applied' ORDER BY operation DESC LIMIT 1`;
  const sums = await transaction<{ sku: string; units: number }[]>`
    SELECT sku, sum(delta)::bigint AS units FROM stock_ledger
    WHERE sale_id = ${saleId} AND outcome = 'applied' GROUP BY sku`;
  return {
    operation: last?.operation ?? 0,
    outcome: last?.outcome ?? '',
    definition: applied?.definition,
    loaded: new Map(sums.map(({ sku, units }) => [sku, units])),
  };
}

/** SKUs of which more is held and confirmed than was loaded, or that the sale does not have; undefined: none. */
function shortageOf(offer: Offer, sold: Sold): string | undefined {
  const known = new Set(offer.definition?.skus.map(({ sku }) => sku));
  const short: string[] = [];
  for (const [sku, { held, confirmed }] of sold.units) {
    const loaded = offer.loaded.get(sku) ?? 0;
    if (!known.has(sku) || held + confirmed > loaded) {
      short.push(`${sku}: ${held + confirmed} of ${loaded}`);
    }
  }
  return short.length > 0 ? short.join(', ') : undefined;
}

function stockOf(
  offer: Offer,
  sold: Sold,
  waiting: ReadonlyMap<string, number>,
): (SkuStock & { price: number })[] {
  return offer.definition!.skus.map(({ sku, price }) => {
    const loaded = offer.loaded.get(sku) ?? 0;
    const { held, confirmed } = sold.units.get(sku) ?? { held: 0, confirmed: 0 };
    const remaining = loaded - held - confirmed;
    return { sku, price, loaded, remaining, held, confirmed, waiting: waiting.get(sku) ?? 0 };
  });
}

/** What this server still has of the line, in portions. */
async function* readLine(shards: Shards, saleId: string): AsyncGenerator<WaitingMember[]> {
  const { client } = shards.of(saleId);
  for (let from = 0; ; from += PORTION) {
    const members = await client.zrange(
      saleKey(saleId, 'line'),
      String(from),
      String(from + PORTION - 1),
    );
    if (members.length === 0) return;
    yield members.map((member) => {
      const [sku, ticket, buyer] = member.split('\t');
      return { member, sku: sku!, ticket: Number(ticket), field: `${buyer}\t${sku}` };
    });
  }
}
