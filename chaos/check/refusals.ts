/**
 * Refusals were true: a buyer who got `sold_out` could not have had a unit, and did not have one already. The checker
 * uses the order of two requests only if one ended before the other began. If the order is unknown, it accepts the
 * engine's result.
 */
import { type Exchange, isSettled, type RequestOf, reservationsIn } from '../clients/history.ts';
import { type Findings, isLiving, type Life, limitsOf } from './case.ts';
import { CoolDowns } from './cool-down.ts';
import { overlap, Remaining, type Span, type Wait, waitsOf } from './remaining.ts';
import { basketOf } from './rows.ts';
import type { Violation } from './violation.ts';

/** What the truth of a refusal depends on. */
interface Facts {
  findings: Findings;
  stock: ReadonlyMap<string, Remaining>;
  waiting: ReadonlyMap<string, Wait[]>;
  coolDowns: CoolDowns;
}

export function checkRefusals(findings: Findings): Violation[] {
  const facts: Facts = {
    findings,
    stock: new Map(findings.terms.skus.map(({ sku }) => [sku, new Remaining(findings, sku)])),
    waiting: waitsOf(findings),
    coolDowns: new CoolDowns(findings),
  };
  return [...falseRefusals(facts), ...falseReclaimRefusals(facts)];
}

function falseRefusals(facts: Facts): Violation[] {
  const { findings } = facts;
  const rowOfRequest = new Map(findings.lives.map(({ row }) => [row.requestId, row]));
  // The units of a lost reservation are unknown, and the times of a restored history, so refusals cannot be checked.
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
    if (!findings.isExact) return [];
    const earlier = successes.get(exchange.request.buyerId) ?? [];
    const isFirst = !earlier.some((each) => hasReservationOf(findings, each, exchange));
    const { buyerId, items } = exchange.request;
    if (isFirst && couldBeTrue(facts, exchange, { buyerId, items })) return [];
    const evidence = `${JSON.stringify(exchange.request)} got ${exchange.response!.code} at ${new Date(exchange.endedMs).toISOString()}`;
    return [{ kind: 'false-refusal', evidence }];
  });
}

/** A merchant may confirm an expired hold unless its units or the limit are taken. */
function falseReclaimRefusals(facts: Facts): Violation[] {
  const { history, lifeOf, isExact } = facts.findings;
  if (!isExact) return [];
  return history.ofKind('confirm').flatMap((exchange): Violation[] => {
    const row = lifeOf.get(exchange.request.reservationId)?.row;
    const code = exchange.response?.code;
    if (!row || !code || !isReclaimRefusal(code)) return [];
    if (couldBeTrue(facts, exchange, row)) return [];
    const evidence = `${JSON.stringify(exchange.request)} got ${code} at ${new Date(exchange.endedMs).toISOString()}`;
    return [{ kind: 'false-refusal', evidence }];
  });
}

function isReclaimRefusal(code: string): boolean {
  return code === 'sold_out' || code === 'insufficient_stock' || code === 'limit_reached';
}

function couldBeTrue(
  { findings, stock, waiting, coolDowns }: Facts,
  exchange: Exchange<RequestOf<'buy' | 'confirm'>>,
  { buyerId, items }: Pick<Life['row'], 'buyerId' | 'items'>,
): boolean {
  const { response } = exchange;
  const span = {
    fromMs: exchange.startedMs - findings.staleMsMax,
    untilMs: exchange.endedMs + findings.toleranceMs,
  };
  const isShort = (enough: (quantity: number) => number) =>
    items.some(({ sku, quantity }) => stock.get(sku)!.leastWithin(span) < enough(quantity));
  switch (response?.code) {
    case 'sold_out': {
      // Units that a waiting buyer can take are not on sale for others.
      const mayBeDue = items.some(({ sku }) =>
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
          mostUnitsOf(findings, buyerId, span, unitsIn) + unitsIn(items) > limit,
      );
    case 'idempotency_key_reused':
      return keyUsedForOtherBasket(findings, exchange);
    case 'too_many_holds':
      return coolDowns.couldBeTrue(buyerId, exchange);
    case 'sale_paused':
      return pausedSpans(findings).some((each) => overlap(each, span));
    case 'sale_ended':
      return endedSpans(findings).some((each) => overlap(each, span));
    default:
      return true;
  }
}

/**
 * Whether an earlier response gave the buyer this reservation, at least `staleMsMax` before. The same request then gets
 * the same reservation, even if no units are left. Without a key, this holds only while the reservation is surely live.
 */
function hasReservationOf(
  { lifeOf, toleranceMs, staleMsMax }: Findings,
  earlier: Exchange<RequestOf<'buy'>>,
  { request, startedMs, endedMs }: Exchange<RequestOf<'buy'>>,
): boolean {
  if (earlier.endedMs > startedMs - staleMsMax) return false;
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
      (ended?.fromMs ?? Number.POSITIVE_INFINITY) > endedMs + toleranceMs
    );
  });
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
    const own = stages.filter(
      ({ state, fromMs, untilMs }) => isLiving(state) && overlap({ fromMs, untilMs }, span),
    );
    units += Math.max(0, ...own.map(({ items }) => unitsIn(items)));
  }
  return units;
}

/** Whether the key already belonged to another basket. Without a key, another basket is another purchase. */
function keyUsedForOtherBasket(
  { history }: Findings,
  { request, endedMs }: Exchange<RequestOf<'buy' | 'confirm'>>,
): boolean {
  if (request.kind !== 'buy') return false;
  const { buyerId, key, items } = request;
  if (key === undefined) return false;
  return history
    .ofKind('buy')
    .some(
      (other) =>
        other.request.buyerId === buyerId &&
        other.startedMs <= endedMs &&
        other.request.key === key &&
        basketOf(other.request.items) !== basketOf(items),
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
  const ends = history.ofKind('end').map(({ startedMs }) => ({
    fromMs: startedMs,
    untilMs: Number.POSITIVE_INFINITY,
  }));
  const moved = moves.map(({ request, startedMs }) => ({
    fromMs: Math.max(startedMs, request.endsAtMs),
    untilMs:
      moves.find(
        (move) =>
          move.startedMs >= startedMs &&
          move.request.endsAtMs > request.endsAtMs &&
          move.response?.status === 200,
      )?.endedMs ?? Number.POSITIVE_INFINITY,
  }));
  return [...ends, ...moved];
}
