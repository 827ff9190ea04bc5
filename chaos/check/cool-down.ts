/**
 * The cool-down: a buyer whose last 20 ended reservations are holds of the last 10 minutes gets no new reservation until
 * the oldest of them is 10 minutes old. A reservation that was extended or confirmed is no such hold.
 */
import type { Exchange } from '../clients/history.ts';
import { type Findings, isLiving, type Life } from './case.ts';
import type { Violation } from './violation.ts';

const HOLDS = 20;
const WINDOW_MS = 600_000;

/** From this event on, until the buyer's next one. */
interface Phase {
  event: number;
  fromMs: number;
  /** When the cool-down ends; 0: there is none. */
  endMs: number;
}

interface Window {
  startedMs: number;
  endedMs: number;
}

export function checkCoolDown(findings: Findings): Violation[] {
  // A restored history has another order.
  if (findings.restore) return [];
  const coolDowns = new CoolDowns(findings);
  const ignored = findings.lives.flatMap((life): Violation[] => {
    const [first] = life.stages;
    const endMs = first ? coolDowns.endBefore(life.row.buyerId, first.event) : 0;
    if (!first || endMs <= first.fromMs) return [];
    const evidence = `${life.row.buyerId} got ${life.row.reservationId}, in a cool-down until ${iso(endMs)}`;
    return [{ kind: 'cool-down-ignored', evidence }];
  });
  // What a lost reservation meant for its buyer is unknown.
  if (findings.losses.length > 0) return ignored;
  return [...ignored, ...wrongLists(findings, coolDowns), ...wrongJoins(findings, coolDowns)];
}

/** `/me` shows until when. */
function wrongLists({ history }: Findings, coolDowns: CoolDowns): Violation[] {
  return history.ofKind('me').flatMap((exchange): Violation[] => {
    if (exchange.response?.status !== 200) return [];
    const { tooManyHoldsUntil } = exchange.response.body as { tooManyHoldsUntil: string | null };
    const { buyerId } = exchange.request;
    if (coolDowns.couldEndAt(buyerId, exchange, tooManyHoldsUntil)) return [];
    const evidence = `${buyerId} was shown a cool-down until ${tooManyHoldsUntil} at ${iso(exchange.endedMs)}`;
    return [{ kind: 'response-untrue', evidence }];
  });
}

function wrongJoins({ history }: Findings, coolDowns: CoolDowns): Violation[] {
  return history.ofKind('join').flatMap((exchange): Violation[] => {
    const { request, response, endedMs } = exchange;
    const { buyerId } = request;
    const evidence = `${buyerId} joined the waitlist with ${response?.status} at ${iso(endedMs)}`;
    if (response?.status === 201 && !coolDowns.couldEndAt(buyerId, exchange, null)) {
      return [{ kind: 'cool-down-ignored', evidence }];
    }
    const isFalse =
      response?.code === 'too_many_holds' && !coolDowns.couldBeTrue(buyerId, exchange);
    return isFalse ? [{ kind: 'false-refusal', evidence }] : [];
  });
}

export class CoolDowns {
  /** Of buyers who ever were in a cool-down. */
  readonly #phasesOf = new Map<string, Phase[]>();
  /** A reclaimed hold has ended and then not ended, so these buyers' cool-downs are not predicted. */
  readonly #unpredictable = new Set<string>();

  readonly #toleranceMs: number;

  constructor({ lives, toleranceMs }: Pick<Findings, 'lives' | 'toleranceMs'>) {
    this.#toleranceMs = toleranceMs;
    for (const [buyerId, own] of Map.groupBy(lives, ({ row }) => row.buyerId)) {
      if (own.length < HOLDS) continue;
      if (own.some(isReclaimed)) this.#unpredictable.add(buyerId);
      else this.#phasesOf.set(buyerId, phasesOf(own));
    }
  }

  /** When the buyer's cool-down surely ended, as it was before an event; 0: there was none. */
  endBefore(buyerId: string, event: number): number {
    const phases = this.#phasesOf.get(buyerId) ?? [];
    return phases.findLast((phase) => phase.event < event)?.endMs ?? 0;
  }

  /** Whether a refusal can have been true. */
  couldBeTrue(buyerId: string, { response, ...window }: Exchange): boolean {
    const { until } = response!.body as { until: string };
    return this.couldEndAt(buyerId, window, until);
  }

  /** Whether the cool-down can have ended at this time, as it was within the window. Null: there was none. */
  couldEndAt(buyerId: string, { startedMs, endedMs }: Window, until: string | null): boolean {
    if (this.#unpredictable.has(buyerId)) return true;
    const phases = this.#phasesOf.get(buyerId) ?? [];
    const before = phases.findLast(({ fromMs }) => fromMs < startedMs - this.#toleranceMs);
    const within = phases.filter(
      ({ fromMs }) =>
        fromMs >= startedMs - this.#toleranceMs && fromMs <= endedMs + this.#toleranceMs,
    );
    return [before?.endMs ?? 0, ...within.map(({ endMs }) => endMs)].some((endMs) =>
      until === null
        ? endMs <= endedMs + this.#toleranceMs
        : endMs === Date.parse(until) && endMs > startedMs - this.#toleranceMs,
    );
  }
}

function phasesOf(lives: readonly Life[]): Phase[] {
  const ends = lives.flatMap((life) =>
    life.stages.filter(({ state }) => !isLiving(state)).map((stage) => ({ life, stage })),
  );
  return ends
    .toSorted((a, b) => a.stage.event - b.stage.event)
    .map(({ stage: { event, fromMs } }) => {
      const ended = ends
        .filter(({ stage }) => stage.event <= event)
        .toSorted((a, b) => a.life.row.position - b.life.row.position)
        .slice(-HOLDS);
      const isLoop = ended.length === HOLDS && ended.every(({ stage }) => stage.version === 2);
      const endMs = isLoop ? ended[0]!.life.row.reservedAt.getTime() + WINDOW_MS : 0;
      return { event, fromMs, endMs };
    });
}

function isReclaimed({ stages }: Life): boolean {
  return stages.some(
    ({ state }, index) => isLiving(state) && stages[index - 1]?.state === 'expired',
  );
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
