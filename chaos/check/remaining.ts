/** What can have remained of a SKU over time, and who can have waited for it. */
import { type Findings, loadedLeast, loadedMost, unitsOf } from './case.ts';
import { takenSteps } from './unit-steps.ts';

export interface Span {
  fromMs: number;
  untilMs: number;
}

export function overlap(a: Span, b: Span): boolean {
  return a.fromMs <= b.untilMs && b.fromMs <= a.untilMs;
}

/** A buyer may have been on the waitlist of a SKU, at least for this quantity. */
export interface Wait extends Span {
  quantity: number;
}

/** The minimum and the maximum that can have remained of a SKU over time. */
export class Remaining {
  readonly #findings: Findings;
  readonly #sku: string;
  /** Units held from this time on. */
  readonly #held: { fromMs: number; units: number }[] = [];

  constructor(findings: Findings, sku: string) {
    this.#findings = findings;
    this.#sku = sku;
    const steps = findings.lives.flatMap((life) =>
      takenSteps(life, (items) => unitsOf(items, sku)),
    );
    let units = 0;
    for (const step of steps.sort((a, b) => a.atMs - b.atMs || b.units - a.units)) {
      units += step.units;
      this.#held.push({ fromMs: step.atMs, units });
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

export function waitsOf({ history }: Findings): Map<string, Wait[]> {
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
