/**
 * A no was true: whoever was told "sold out" could not have had it, and did not have it already. Only what can not have
 * been otherwise is accused; where the order of things is open, the engine is right.
 */
import { type AskedOf, type Exchange, isSettled, reservationsIn } from '../history.ts';
import {
  type Findings,
  isLiving,
  loadedLeast,
  STALE_MS_MAX,
  TOLERANCE_MS,
  totalUnits,
  unitsOf,
} from './case.ts';
import { basketOf } from './rows.ts';
import type { Violation } from './violation.ts';

interface Span {
  fromMs: number;
  untilMs: number;
}

export function checkRefusals(findings: Findings): Violation[] {
  const rowOfRequest = new Map(findings.lives.map(({ row }) => [row.requestId, row]));
  // What a loss of memory took was held until then, and nobody knows any more by what.
  const isKnowable = findings.losses.length === 0;
  const stock = new Map(findings.terms.skus.map(({ sku }) => [sku, remainingLeast(findings, sku)]));
  const waiting = waitingSpans(findings);
  const told = Map.groupBy(
    findings.history.ofKind('buy').filter((exchange) => reservationsIn(exchange).length > 0),
    ({ asked }) => asked.buyerId,
  );
  return findings.history.ofKind('buy').flatMap((exchange): Violation[] => {
    if (!isSettled(exchange) || exchange.answer!.status < 400) return [];
    const row = rowOfRequest.get(exchange.requestId);
    if (row) {
      const evidence = `${row.reservationId} by a request that was answered ${exchange.answer!.code}`;
      return [{ kind: 'refused-but-decided', evidence }];
    }
    if (!isKnowable) return [];
    const toldBefore = told.get(exchange.asked.buyerId) ?? [];
    const mayBeNews = !toldBefore.some((each) => hasReservationOf(findings, each, exchange));
    if (mayBeNews && couldBeTrue(findings, exchange, stock, waiting)) return [];
    const evidence = `${JSON.stringify(exchange.asked)} was answered ${exchange.answer!.code} at ${new Date(exchange.endedMs).toISOString()}`;
    return [{ kind: 'refusal-untrue', evidence }];
  });
}

function couldBeTrue(
  findings: Findings,
  exchange: Exchange<AskedOf<'buy'>>,
  stock: ReadonlyMap<string, Remaining>,
  waiting: ReadonlyMap<string, Span[]>,
): boolean {
  const { asked, answer } = exchange;
  const span = {
    fromMs: exchange.beganMs - STALE_MS_MAX,
    untilMs: exchange.endedMs + TOLERANCE_MS,
  };
  const isShort = (enough: (quantity: number) => number) =>
    asked.items.some(({ sku, quantity }) => stock.get(sku)!.leastWithin(span) < enough(quantity));
  switch (answer?.code) {
    case 'sold_out': {
      const mayWait = asked.items.some(({ sku }) =>
        (waiting.get(sku) ?? []).some((each) => overlap(each, span)),
      );
      return mayWait || isShort(() => 1);
    }
    case 'insufficient_stock':
      return isShort((quantity) => quantity);
    case 'limit_reached':
      return (
        mostUnitsOf(findings, asked.buyerId, span) + totalUnits(asked.items) >
        findings.terms.perBuyerLimit
      );
    case 'idempotency_key_reused':
      return stoodForAnother(findings, exchange);
    case 'sale_paused':
      return pausedSpans(findings).some((each) => overlap(each, span));
    default:
      return true;
  }
}

/**
 * Whether this is what the buyer asked for before and was given, long enough ago for every front end to know: it gets
 * the same again, whatever is left. Without a key, as long as the reservation certainly lives.
 */
function hasReservationOf(
  { lifeOf }: Findings,
  told: Exchange<AskedOf<'buy'>>,
  { asked, beganMs, endedMs }: Exchange<AskedOf<'buy'>>,
): boolean {
  if (told.endedMs > beganMs - STALE_MS_MAX) return false;
  if (told.asked.key !== asked.key || basketOf(told.asked.items) !== basketOf(asked.items)) {
    return false;
  }
  return reservationsIn(told).some(({ reservationId }) => {
    const stages = lifeOf.get(reservationId)?.stages ?? [];
    const ended = stages.find(({ state }) => !isLiving(state));
    return (
      asked.key !== undefined ||
      (ended?.fromMs ?? Number.POSITIVE_INFINITY) > endedMs + TOLERANCE_MS
    );
  });
}

/** The least that can have remained of a SKU, at any time. */
class Remaining {
  readonly #findings: Findings;
  readonly #sku: string;
  /** Units held from each of these times on. */
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

  leastWithin({ fromMs, untilMs }: Span): number {
    let most = 0;
    let index = this.#held.findLastIndex((each) => each.fromMs <= fromMs);
    for (index = Math.max(0, index); index < this.#held.length; index++) {
      const { fromMs: atMs, units } = this.#held[index]!;
      if (atMs > untilMs) break;
      most = Math.max(most, units);
    }
    const { stockWindows } = this.#findings;
    const loadedAt = [fromMs, untilMs, ...stockWindows.map(({ beganMs }) => beganMs)]
      .filter((atMs) => fromMs <= atMs && atMs <= untilMs)
      .map((atMs) => loadedLeast(this.#findings, this.#sku, atMs));
    return Math.min(...loadedAt) - most;
  }
}

function remainingLeast(findings: Findings, sku: string): Remaining {
  return new Remaining(findings, sku);
}

/** When somebody may have stood in the line for a SKU, which is then sold out for everybody else. */
function waitingSpans({ history }: Findings): Map<string, Span[]> {
  const spans = new Map<string, Span[]>();
  const leaves = Map.groupBy(history.ofKind('leave'), ({ asked }) => asked.buyerId);
  for (const [, joins] of Map.groupBy(
    history.ofKind('join'),
    ({ asked }) => `${asked.buyerId} ${asked.sku}`,
  )) {
    const { buyerId, sku } = joins[0]!.asked;
    const left = (leaves.get(buyerId) ?? []).filter(
      (leave) => leave.answer?.status === 200 && leave.beganMs >= joins.at(-1)!.beganMs,
    );
    const span = {
      fromMs: joins[0]!.beganMs,
      // Served ones leave earlier; that they may still have waited is what counts here.
      untilMs: left.length > 0 ? left[0]!.endedMs : Number.POSITIVE_INFINITY,
    };
    spans.set(sku, [...(spans.get(sku) ?? []), span]);
  }
  return spans;
}

function mostUnitsOf({ lives }: Findings, buyerId: string, span: Span): number {
  let units = 0;
  for (const { row, stages } of lives) {
    if (row.buyerId !== buyerId) continue;
    const mayLive = stages.some(
      ({ state, fromMs, untilMs }) => isLiving(state) && overlap({ fromMs, untilMs }, span),
    );
    if (mayLive) units += totalUnits(row.items);
  }
  return units;
}

/** Whether the key, or without one the buyer, stood for another basket; what the line gives has no key either. */
function stoodForAnother({ history }: Findings, exchange: Exchange<AskedOf<'buy'>>): boolean {
  const { buyerId, key, items } = exchange.asked;
  const isEarlier = (other: Exchange<AskedOf<'buy' | 'join'>>) =>
    other.asked.buyerId === buyerId && other.beganMs <= exchange.endedMs;
  return (
    (key === undefined && history.ofKind('join').some(isEarlier)) ||
    history
      .ofKind('buy')
      .some(
        (other) =>
          isEarlier(other) &&
          other.asked.key === key &&
          basketOf(other.asked.items) !== basketOf(items),
      )
  );
}

/** From when a pause may have come to be until a resume certainly was. */
function pausedSpans({ history }: Findings): Span[] {
  const pauses = history.ofKind('pause');
  const resumes = history.ofKind('resume').filter(({ answer }) => answer?.status === 200);
  return pauses.map(({ beganMs }) => ({
    fromMs: beganMs,
    untilMs:
      resumes.find((resume) => resume.beganMs >= beganMs)?.endedMs ?? Number.POSITIVE_INFINITY,
  }));
}

function overlap(a: Span, b: Span): boolean {
  return a.fromMs <= b.untilMs && b.fromMs <= a.untilMs;
}
