/**
 * The input of the checker: the terms of the sale, the history of requests and responses, the server snapshot, and
 * the data losses of the run. Also the values that several checks derive from them.
 */
import type { Item, PublicReservation, ReservationStatus } from '../../src/domain/reservation.ts';
import { boughtItems } from '../../src/domain/reservation-codec.ts';
import { type Exchange, type History, isSettled, reservationsIn } from '../clients/history.ts';
import type { Loss } from '../faults/losses.ts';
import type { Restore } from '../faults/restored-backup.ts';
import type { EventRow, Row, ServerSnapshot } from '../server-snapshot.ts';
import type { Durability } from '../stack.ts';

export interface Terms {
  saleId: string;
  perBuyerLimit: number;
  holdSeconds: number;
  /** Of reservations from the waitlist; absent: as holdSeconds. */
  waitlistHoldSeconds?: number;
  skus: readonly { sku: string; price: number; stock: number; perBuyerLimit?: number }[];
}

export interface Case {
  terms: Terms;
  durability: Durability;
  history: History;
  snapshot: ServerSnapshot;
  losses: readonly Loss[];
  /** An older backup of PostgreSQL was restored. */
  restore?: Restore | undefined;
  /**
   * How far the sale's time can be ahead of the clients' clock: the sum of all steps of the servers' clocks
   * (docs/adr/0022-sale-time.md).
   */
  clockErrorMs?: number;
}

/** The API shows `extended` as `reserved` with a later end. */
export type LifeState = ReservationStatus | 'extended';

/** One state of a reservation, from its event to the next. */
interface Stage {
  state: LifeState;
  version: number;
  event: number;
  fromMs: number;
  untilMs: number;
  requestId: string;
  /** The payment that the event recorded. */
  paymentRef: string | undefined;
  /** What the buyer has, or had before the end. */
  items: readonly Item[];
  /** The units that a merchant cancelled, while others were left; empty: none. */
  cut: readonly Item[];
  /** A cancellation that was requested without restock. */
  isWithdrawal: boolean;
  /** A recovery made the event from the record in Redis, because PostgreSQL and the stream lacked it. */
  isRestored: boolean;
}

/** A reservation in PostgreSQL with all its stages in order. */
export interface Life {
  /** With the items as they were bought. */
  row: Row;
  /** The items that are left by the row. */
  left: readonly Item[];
  stages: Stage[];
}

/** A reservation in one response. */
export interface Sighting {
  exchange: Exchange;
  reservation: PublicReservation;
}

/** A change of stock. If it was applied, that happened within this time. */
interface StockWindow {
  key: string;
  sku: string;
  delta: number;
  startedMs: number;
  settledMs: number;
  isApplied: boolean;
}

export interface Findings extends Case {
  /** By position. */
  lives: readonly Life[];
  lifeOf: ReadonlyMap<string, Life>;
  /** What clients saw of each reservation, in the order of the responses. */
  sightingsOf: ReadonlyMap<string, Sighting[]>;
  exchangeOf: ReadonlyMap<string, Exchange>;
  stockWindows: readonly StockWindow[];
  /** Reservations that clients saw and that a data loss was allowed to take. */
  lost: ReadonlySet<string>;
  /** All data losses. `losses` has those before the sale was archived: later ones can take nothing of it. */
  outages: readonly Loss[];
  /** By how much times of the engine may differ from those of the clients. */
  toleranceMs: number;
  /** How old the view may be on which a hot path refuses. */
  staleMsMax: number;
  /** Whether the history in PostgreSQL has every decision, in the order of the decisions. */
  isExact: boolean;
}

/** Clocks show whole milliseconds, and a script's time is the time of its start. */
export const TOLERANCE_MS = 5;

/** A hot path refuses only on views of at most 250 ms. The rest is a tolerance for a busy machine. */
export const STALE_MS_MAX = 1_000;

export function findingsOf(given: Case): Findings {
  const aCase = { ...given, losses: lossesBeforeArchive(given) };
  const exchangeOf = new Map(aCase.history.exchanges.map((each) => [each.requestId, each]));
  const lives = livesOf(aCase, exchangeOf);
  const lifeOf = new Map(lives.map((life) => [life.row.reservationId, life]));
  const sightingsOf = new Map<string, Sighting[]>();
  for (const exchange of aCase.history.exchanges) {
    for (const reservation of reservationsIn(exchange)) {
      const sightings = sightingsOf.get(reservation.reservationId);
      if (sightings) sightings.push({ exchange, reservation });
      else sightingsOf.set(reservation.reservationId, [{ exchange, reservation }]);
    }
  }
  const lost = new Set<string>();
  for (const [reservationId, sightings] of sightingsOf) {
    if (!lifeOf.has(reservationId) && mayBeLost(aCase.losses, sightings[0]!))
      lost.add(reservationId);
  }
  return {
    ...aCase,
    lives,
    lifeOf,
    sightingsOf,
    exchangeOf,
    stockWindows: stockWindowsOf(aCase),
    lost,
    outages: given.losses,
    toleranceMs: TOLERANCE_MS + (given.clockErrorMs ?? 0),
    staleMsMax: STALE_MS_MAX + (given.clockErrorMs ?? 0),
    isExact: aCase.losses.length === 0 && given.restore === undefined,
  };
}

function lossesBeforeArchive({ losses, snapshot }: Case): readonly Loss[] {
  const { archivedAtMs } = snapshot.postgres;
  return losses.filter(({ atMs }) => archivedAtMs === null || atMs < archivedAtMs);
}

/**
 * Whether a data loss may have taken what a response showed: an event in the lost tail, or a decision during the
 * loss.
 */
export function mayBeLost(losses: readonly Loss[], { exchange, reservation }: Sighting): boolean {
  const { reservationId, position, status } = reservation;
  return losses.some((loss) => {
    if (exchange.startedMs > loss.overMs) return false;
    if (position > loss.position || exchange.endedMs >= loss.atMs) return true;
    const isFirst = status === 'reserved';
    return [...loss.tail].some(
      (key) => key.startsWith(`${reservationId}#`) && (isFirst || !key.endsWith('#1')),
    );
  });
}

/** The state that a response shows. */
export function stateOf(
  reservation: PublicReservation,
  { holdSeconds: purchaseSeconds, waitlistHoldSeconds = purchaseSeconds }: Terms,
): LifeState {
  const holdSeconds = reservation.source === 'waitlist' ? waitlistHoldSeconds : purchaseSeconds;
  const heldMs = Date.parse(reservation.expiresAt) - Date.parse(reservation.reservedAt);
  const isExtended = reservation.status === 'reserved' && heldMs > holdSeconds * 1_000;
  return isExtended ? 'extended' : reservation.status;
}

export function isLiving(state: LifeState): boolean {
  return state === 'reserved' || state === 'extended' || state === 'confirmed';
}

/** Whether the waitlist gave the reservation. No buyer can send a key with a space. */
export function isFromWaitlist({ idempotencyKey }: Pick<Row, 'idempotencyKey'>): boolean {
  return idempotencyKey.startsWith('waitlist ');
}

/** Units of a SKU in a basket. */
export function unitsOf(items: readonly { sku: string; quantity: number }[], sku: string): number {
  return items.find((item) => item.sku === sku)?.quantity ?? 0;
}

/** The limits per buyer: of the whole basket, and of SKUs. */
export function limitsOf({ perBuyerLimit, skus }: Terms) {
  const ofSkus = skus.flatMap(({ sku, perBuyerLimit: limit }) =>
    limit === undefined ? [] : [{ limit, unitsIn: (items: Items) => unitsOf(items, sku) }],
  );
  return [{ limit: perBuyerLimit, unitsIn: totalUnits }, ...ofSkus];
}
type Items = readonly { sku: string; quantity: number }[];

function totalUnits(items: readonly { quantity: number }[]): number {
  return items.reduce((sum, { quantity }) => sum + quantity, 0);
}

function livesOf(
  { snapshot: { postgres }, history }: Case,
  exchangeOf: Findings['exchangeOf'],
): Life[] {
  const stagesOf = new Map<string, Stage[]>();
  for (const event of postgres.events) {
    const stages = stagesOf.get(event.reservationId) ?? [];
    stagesOf.set(event.reservationId, stages);
    const fromMs = event.occurredAt.getTime();
    const isExtended = event.status === 'reserved' && event.version > 1;
    const isRestored = /^(restored$|\{"actor":"restored")/.test(event.detail);
    // A restored event has no request, so it can be that of any one.
    const withdrawing = isRestored
      ? history
          .changesOf(event.reservationId)
          .filter(() => event.detail.includes('"restock":false'))
      : [exchangeOf.get(event.requestId)];
    stages.push({
      state: isExtended ? 'extended' : event.status,
      version: event.version,
      event: event.event,
      fromMs,
      untilMs: Number.POSITIVE_INFINITY,
      requestId: event.requestId,
      paymentRef: paymentIn(event.detail),
      isRestored,
      items: [],
      cut: event.status === 'cancelled' ? [] : cutBy(event, exchangeOf),
      isWithdrawal: withdrawing.some(withdraws),
    });
  }
  return postgres.rows.map((row) => {
    const stages = (stagesOf.get(row.reservationId) ?? []).sort((a, b) => a.version - b.version);
    const bought = boughtItems(row.items);
    let items: readonly Item[] = bought;
    for (const [index, stage] of stages.entries()) {
      stage.untilMs = stages[index + 1]?.fromMs ?? Number.POSITIVE_INFINITY;
      if (stage.cut.length > 0) stage.state = stages[index - 1]?.state ?? stage.state;
      items = items.map(({ sku, quantity }) => ({
        sku,
        quantity: quantity - unitsOf(stage.cut, sku),
      }));
      stage.items = items;
    }
    const left = row.items.map(({ sku, quantity }) => ({ sku, quantity }));
    return { row: { ...row, items: bought }, left, stages };
  });
}

/** Not from the event, so that the checker detects a mistake there; but an event that a recovery made has no request. */
function cutBy(
  { requestId, detail }: EventRow,
  exchangeOf: Findings['exchangeOf'],
): readonly Item[] {
  const request = exchangeOf.get(requestId)?.request;
  if (request) return request.kind === 'cancel-part' ? request.items : [];
  if (!detail.startsWith('{"actor":"restored"')) return [];
  return (JSON.parse(detail) as { items?: Item[] }).items ?? [];
}

/** Not from the event, so that the checker detects a mistake there. */
function withdraws(exchange: Exchange | undefined): boolean {
  const request = exchange?.request;
  return (
    (request?.kind === 'cancel' || request?.kind === 'cancel-part') && request.restock === false
  );
}

/** A merchant's event has its fields as JSON. */
function paymentIn(detail: string): string | undefined {
  if (!detail.startsWith('{')) return undefined;
  return (JSON.parse(detail) as { paymentRef?: string }).paymentRef;
}

function stockWindowsOf({ history, snapshot, restore }: Case): StockWindow[] {
  const windows = new Map<string, StockWindow>();
  const applied = new Set(
    snapshot.postgres.ledger
      .filter(({ outcome }) => outcome === 'applied')
      .map(({ idempotencyKey }) => idempotencyKey),
  );
  for (const exchange of history.ofKind('stock')) {
    const { key, sku, delta } = exchange.request;
    const { startedMs, endedMs } = exchange;
    const window = windows.get(key) ?? {
      key,
      sku,
      delta,
      startedMs,
      settledMs: Number.POSITIVE_INFINITY,
      isApplied: applied.has(key),
    };
    windows.set(key, window);
    if (!isSettled(exchange)) continue;
    window.settledMs = Math.min(window.settledMs, endedMs);
    // A restored ledger has the sum of the changes, without their keys, and the likelier outcome of a pending one.
    if (restore) window.isApplied = exchange.response?.status === 200;
  }
  return [...windows.values()];
}

/** The maximum that can have been loaded of a SKU at some time, which may be wrong by `errorMs`. */
export function loadedMost(findings: Findings, sku: string, atMs: number, errorMs = 0): number {
  return loadedWith(findings, sku, ({ delta, startedMs, settledMs }) =>
    delta > 0 ? startedMs <= atMs + errorMs : settledMs <= atMs - errorMs,
  );
}

/** The minimum. */
export function loadedLeast(findings: Findings, sku: string, atMs: number, errorMs = 0): number {
  return loadedWith(findings, sku, ({ delta, startedMs, settledMs }) =>
    delta > 0 ? settledMs <= atMs - errorMs : startedMs <= atMs + errorMs,
  );
}

function loadedWith(
  { terms, stockWindows }: Findings,
  sku: string,
  counts: (window: StockWindow) => boolean,
): number {
  return stockWindows
    .filter((window) => window.sku === sku && window.isApplied && counts(window))
    .reduce(
      (units, { delta }) => units + delta,
      terms.skus.find((each) => each.sku === sku)?.stock ?? 0,
    );
}
