/**
 * Refusals were true: a buyer who got `sold_out` could not have had a unit, and did not have one already. The checker
 * uses the order of two requests only if one ended before the other began. If the order is unknown, it accepts the
 * engine's result.
 */
import { type Exchange, isSettled, type RequestOf, reservationsIn } from '../clients/history.ts';
import {
  type Findings,
  isLiving,
  type Life,
  limitsOf,
  loadedLeast,
  loadedMost,
  STALE_MS_MAX,
  TOLERANCE_MS,
  unitsOf,
} from './case.ts';
import { basketOf } from './rows.ts';
import type { Violation } from './violation.ts';

interface Span {
  fromMs: number;
  untilMs: number;
}

/** A buyer may have been on the waitlist of a SKU, at least for this quantity. */
interface Wait extends Span {
  quantity: number;
}

export function checkRefusals(findings: Findings): Violation[] {
  const rowOfRequest = new Map(findings.lives.map(({ row }) => [row.requestId, row]));
  // The units of a lost reservation are unknown, so refusals cannot be checked after a data loss.
  const isKnowable = findings.losses.length === 0;
  const stock = new Map(findings.terms.skus.map(({ sku }) => [sku, new Remaining(findings, sku)]));
  const waiting = waitsOf(findings);
  const successes = Map.groupBy(
    findings.history.ofKind('buy').filter((exchange) => reservationsIn(exchange).length > 0),
    ({ request }) => request.buyerId,
  );
  return findings.history.ofKind('buy').flatMap((exchange): Violation[] => {
    if (!isSettled(exchange) || exchange.response!.status < 400) return [];
    const row = rowOfRequest.get(exchange.requestId);
    if (row) {
      const evidence = `${row.reservationId} by a request with the response ${exchange.response!.code}`;
      return [{ kind: 'refused-but-decided', evidence }];
    }
    if (!isKnowable) return [];
    const earlier = successes.get(exchange.request.buyerId) ?? [];
    const isFirst = !earlier.some((each) => hasReservationOf(findings, each, exchange));
    if (isFirst && couldBeTrue(findings, exchange, stock, waiting)) return [];
    const evidence = `${JSON.stringify(exchange.request)} got ${exchange.response!.code} at ${new Date(exchange.endedMs).toISOString()}`;
    return [{ kind: 'false-refusal', evidence }];
  });
}

function couldBeTrue(
  findings: Findings,
  exchange: Exchange<RequestOf<'buy'>>,
  stock: ReadonlyMap<string, Remaining>,
  waiting: ReadonlyMap<string, Wait[]>,
): boolean {
  const { request, response } = exchange;
  const span = {
    fromMs: exchange.startedMs - STALE_MS_MAX,
    untilMs: exchange.endedMs + TOLERANCE_MS,
  };
  const isShort = (enough: (quantity: number) => number) =>
    request.items.some(({ sku, quantity }) => stock.get(sku)!.leastWithin(span) < enough(quantity));
  switch (response?.code) {
    case 'sold_out': {
      // Units that a waiting buyer can take are not on sale for others.
      const mayBeDue = request.items.some(({ sku }) =>
        (waiting.get(sku) ?? []).some(
          (each) => overlap(each, span) && each.quantity <= stock.get(sku)!.mostWithin(span),
        ),
      );
      return mayBeDue || isShort(() => 1);
    }
    case 'insufficient_stock':
      return isShort((quantity) => quantity);
    case 'limit_reached':
      return limitsOf(findings.terms).some(
        ({ limit, unitsIn }) =>
          mostUnitsOf(findings, request.buyerId, span, unitsIn) + unitsIn(request.items) > limit,
      );
    case 'idempotency_key_reused':
      return keyUsedForOtherBasket(findings, exchange);
    case 'sale_paused':
      return pausedSpans(findings).some((each) => overlap(each, span));
    case 'sale_ended':
      return endedSpans(findings).some((each) => overlap(each, span));
    default:
      return true;
  }
}

/**
 * Whether an earlier response gave the buyer this reservation, at least STALE_MS_MAX before. The same request then gets
 * the same reservation, even if no units are left. Without a key, this holds only while the reservation is surely live.
 */
function hasReservationOf(
  { lifeOf }: Findings,
  earlier: Exchange<RequestOf<'buy'>>,
  { request, startedMs, endedMs }: Exchange<RequestOf<'buy'>>,
): boolean {
  if (earlier.endedMs > startedMs - STALE_MS_MAX) return false;
  if (
    earlier.request.key !== request.key ||
    basketOf(earlier.request.items) !== basketOf(request.items)
  ) {
    return false;
  }
  return reservationsIn(earlier).some(({ reservationId }) => {
    const stages = lifeOf.get(reservationId)?.stages ?? [];
    const ended = stages.find(({ state }) => !isLiving(state));
    return (
      request.key !== undefined ||
      (ended?.fromMs ?? Number.POSITIVE_INFINITY) > endedMs + TOLERANCE_MS
    );
  });
}

/** The minimum and the maximum that can have remained of a SKU over time. */
class Remaining {
  readonly #findings: Findings;
  readonly #sku: string;
  /** Units held from this time on. */
  readonly #held: { fromMs: number; units: number }[] = [];

  constructor(findings: Findings, sku: string) {
    this.#findings = findings;
    this.#sku = sku;
    const steps = findings.lives.flatMap(({ row, stages }) => {
      const units = unitsOf(row.items, sku);
      if (units === 0) return [];
      return stages.flatMap(({ state, fromMs, version }) => {
        if (version === 1) return [{ fromMs, units }];
        return isLiving(state) ? [] : [{ fromMs, units: -units }];
      });
    });
    let units = 0;
    for (const step of steps.sort((a, b) => a.fromMs - b.fromMs || b.units - a.units)) {
      units += step.units;
      this.#held.push({ fromMs: step.fromMs, units });
    }
  }

  leastWithin(span: Span): number {
    const loaded = this.#timesWithin(span, ({ startedMs }) => startedMs).map((atMs) =>
      loadedLeast(this.#findings, this.#sku, atMs),
    );
    return Math.min(...loaded) - Math.max(...this.#heldWithin(span));
  }

  mostWithin(span: Span): number {
    const loaded = this.#timesWithin(span, ({ settledMs }) => settledMs).map((atMs) =>
      loadedMost(this.#findings, this.#sku, atMs),
    );
    return Math.max(...loaded) - Math.min(...this.#heldWithin(span));
  }

  #heldWithin({ fromMs, untilMs }: Span): number[] {
    const before = this.#held.findLastIndex((each) => each.fromMs <= fromMs);
    const within = this.#held.slice(before + 1).filter((each) => each.fromMs <= untilMs);
    return [this.#held[before]?.units ?? 0, ...within.map(({ units }) => units)];
  }

  #timesWithin(
    { fromMs, untilMs }: Span,
    timeOf: (window: Findings['stockWindows'][number]) => number,
  ): number[] {
    const changes = this.#findings.stockWindows
      .map(timeOf)
      .filter((atMs) => fromMs <= atMs && atMs <= untilMs);
    return [fromMs, untilMs, ...changes];
  }
}

function waitsOf({ history }: Findings): Map<string, Wait[]> {
  const waits = new Map<string, Wait[]>();
  const leaves = Map.groupBy(history.ofKind('leave'), ({ request }) => request.buyerId);
  for (const [, joins] of Map.groupBy(
    history.ofKind('join'),
    ({ request }) => `${request.buyerId} ${request.sku}`,
  )) {
    const { buyerId, sku } = joins[0]!.request;
    const left = (leaves.get(buyerId) ?? []).filter(
      (leave) => leave.response?.status === 200 && leave.startedMs >= joins.at(-1)!.startedMs,
    );
    const wait = {
      quantity: Math.min(...joins.map(({ request }) => request.quantity)),
      fromMs: joins[0]!.startedMs,
      // A served buyer leaves earlier, but may have waited until then.
      untilMs: left.length > 0 ? left[0]!.endedMs : Number.POSITIVE_INFINITY,
    };
    waits.set(sku, [...(waits.get(sku) ?? []), wait]);
  }
  return waits;
}

function mostUnitsOf(
  { lives }: Findings,
  buyerId: string,
  span: Span,
  unitsIn: (items: Life['row']['items']) => number,
): number {
  let units = 0;
  for (const { row, stages } of lives) {
    if (row.buyerId !== buyerId) continue;
    const mayLive = stages.some(
      ({ state, fromMs, untilMs }) => isLiving(state) && overlap({ fromMs, untilMs }, span),
    );
    if (mayLive) units += unitsIn(row.items);
  }
  return units;
}

/** Whether the key already belonged to another basket. Without a key, another basket is another purchase. */
function keyUsedForOtherBasket(
  { history }: Findings,
  exchange: Exchange<RequestOf<'buy'>>,
): boolean {
  const { buyerId, key, items } = exchange.request;
  if (key === undefined) return false;
  return history
    .ofKind('buy')
    .some(
      ({ request, startedMs }) =>
        request.buyerId === buyerId &&
        startedMs <= exchange.endedMs &&
        request.key === key &&
        basketOf(request.items) !== basketOf(items),
    );
}

/** From when a pause may have been applied until a resume certainly was. */
function pausedSpans({ history }: Findings): Span[] {
  const pauses = history.ofKind('pause');
  const resumes = history.ofKind('resume').filter(({ response }) => response?.status === 200);
  return pauses.map(({ startedMs }) => ({
    fromMs: startedMs,
    untilMs:
      resumes.find((resume) => resume.startedMs >= startedMs)?.endedMs ?? Number.POSITIVE_INFINITY,
  }));
}

/** From when an end may have passed until a later one was certainly applied. */
function endedSpans({ history }: Findings): Span[] {
  const moves = history.ofKind('move-end');
  return moves.map(({ request, startedMs }) => ({
    fromMs: Math.max(startedMs, request.endsAtMs),
    untilMs:
      moves.find(
        (move) =>
          move.startedMs >= startedMs &&
          move.request.endsAtMs > request.endsAtMs &&
          move.response?.status === 200,
      )?.endedMs ?? Number.POSITIVE_INFINITY,
  }));
}

function overlap(a: Span, b: Span): boolean {
  return a.fromMs <= b.untilMs && b.fromMs <= a.untilMs;
}
