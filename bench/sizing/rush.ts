/**
 * A model of a rush on one sale, in steps of a millisecond, from the measured cost of each request: when does every buyer
 * have a response? Each hot path and the shard have a core of their own, the network takes no time, and nothing fails.
 * `npm run bench:growth -- --only rush` compares the model with a real rush.
 *
 * A seed draws when and where buyers arrive. Until a hot path knows every holder (a buyer with a reservation), a request
 * costs it the work of a win and waits in its queue for Redis. If the queue is full, the buyer returns after a second.
 * Redis decides batches from each queue in turn. Hot paths hear of the winners while units are sold.
 */
import { Random } from '../../harness/random.ts';

/** Measured CPU time, µs. */
export interface RequestCosts {
  /** Of a hot path: a local refusal, the first sight of a token, a win. */
  refusalMicros: number;
  signatureMicros: number;
  winMicros: number;
  /** Of Redis: a win, a refusal. */
  redisWinMicros: number;
  redisRefusalMicros: number;
}

export interface RushChoices {
  buyers: number;
  /** All buyers arrive within this time. */
  withinMs: number;
  units: number;
  hotPaths: number;
  seed: number;
  costs: RequestCosts;
}

export interface RushOutcome {
  won: number;
  refused: number;
  /** Refusals after which a buyer tries again. */
  retries: number;
  /** After the first arrival; undefined when units are left. */
  soldOutMs: number | undefined;
  finishedMs: number;
  /** CPU time of all hot paths together. */
  hotPathSeconds: number;
}

const MS_MICROS = 1_000;
/** The defaults of the engine: WAITING_MAX, and two calls of BATCH_SIZE_MAX that take a millisecond each. */
const QUEUE_MAX = 20_000;
const BATCH_SIZE = 128;
const CALLS_PER_MS_MAX = 2;
/** A buyer whose wait would be longer is refused, and tries again. */
const WAIT_MS_MAX = 2_000;
const RETRY_AFTER_MS = 1_000;
/** From the sell-out until every hot path has heard of the last winners, and has read the view. */
const HEARING_MS = 50;
/** A simulation that runs longer has a fault. */
const MS_MAX = 3_600_000;

class HotPath {
  /** Requests not read yet: first ones, and retries. */
  fresh = 0;
  returned = 0;
  queued = 0;
  /** How fast Redis last served this queue. */
  decidedPerMs = BATCH_SIZE * CALLS_PER_MS_MAX;
  /** How many buyers return at which millisecond. */
  readonly returning = new Map<number, number>();
  /** CPU time left; negative when the last request took longer. */
  micros = 0;
  workedMicros = 0;
}

export function simulateRush(choices: RushChoices): RushOutcome {
  const { buyers, units, costs } = choices;
  const arrivals = drawArrivals(choices);
  const hotPaths = Array.from({ length: choices.hotPaths }, () => new HotPath());
  const outcome: RushOutcome = {
    won: 0,
    refused: 0,
    retries: 0,
    soldOutMs: undefined,
    finishedMs: 0,
    hotPathSeconds: 0,
  };
  let redisMicros = 0;
  for (let ms = 0; outcome.won + outcome.refused < buyers; ms++) {
    if (ms > MS_MAX) throw new Error(`the rush did not end within ${ms} ms`);
    const isKnown = outcome.soldOutMs !== undefined && ms >= outcome.soldOutMs + HEARING_MS;
    for (const [index, each] of hotPaths.entries()) {
      each.fresh += arrivals[ms]?.[index] ?? 0;
      each.returned += each.returning.get(ms) ?? 0;
      each.returning.delete(ms);
      // Unused time is lost; overdrawn time is owed.
      each.micros = Math.min(each.micros, 0) + MS_MICROS;
      if (isKnown) outcome.refused += refuse(each, costs);
      else outcome.retries += enqueue(each, costs, ms);
    }
    redisMicros = Math.min(redisMicros, 0) + MS_MICROS;
    redisMicros -= decide(hotPaths, ms, { outcome, units, costs, micros: redisMicros });
    if (outcome.won === units) outcome.soldOutMs ??= ms + 1;
    outcome.finishedMs = ms + 1;
  }
  outcome.hotPathSeconds = hotPaths.reduce((sum, { workedMicros }) => sum + workedMicros, 0) / 1e6;
  return outcome;
}

/** `[millisecond][hot path]`: the number of arrivals. */
function drawArrivals({ buyers, withinMs, hotPaths, seed }: RushChoices): Uint32Array[] {
  const random = new Random(seed);
  const arrivals = Array.from({ length: withinMs }, () => new Uint32Array(hotPaths));
  for (let buyer = 0; buyer < buyers; buyer++) {
    const ms = Math.floor(random.next() * withinMs);
    arrivals[ms]![Math.floor(random.next() * hotPaths)]!++;
  }
  return arrivals;
}

function refuse(hotPath: HotPath, { refusalMicros, signatureMicros }: RequestCosts): number {
  const first = work(hotPath, 'fresh', refusalMicros + signatureMicros);
  return first + work(hotPath, 'returned', refusalMicros);
}

/** Returns how many buyers found the queue full. Retries go first. */
function enqueue(hotPath: HotPath, costs: RequestCosts, ms: number): number {
  const { winMicros, refusalMicros, signatureMicros } = costs;
  const room = () =>
    Math.min(QUEUE_MAX, Math.ceil(hotPath.decidedPerMs * WAIT_MS_MAX)) - hotPath.queued;
  hotPath.queued += work(hotPath, 'returned', winMicros, Math.max(0, room()));
  hotPath.queued += work(hotPath, 'fresh', winMicros + signatureMicros, Math.max(0, room()));
  if (room() > 0) return 0;
  const rejected =
    work(hotPath, 'returned', refusalMicros) +
    work(hotPath, 'fresh', refusalMicros + signatureMicros);
  if (rejected > 0) hotPath.returning.set(ms + RETRY_AFTER_MS, rejected);
  return rejected;
}

/** Handles as many requests as there is time for; the last one may overdraw the time of the next millisecond. */
function work(
  hotPath: HotPath,
  requests: 'fresh' | 'returned',
  micros: number,
  most = Number.POSITIVE_INFINITY,
): number {
  const inTime = Math.max(0, Math.ceil(hotPath.micros / micros));
  const count = Math.min(hotPath[requests], inTime, most);
  hotPath[requests] -= count;
  hotPath.micros -= count * micros;
  hotPath.workedMicros += count * micros;
  return count;
}

/** Returns the CPU time of Redis. */
function decide(
  hotPaths: readonly HotPath[],
  ms: number,
  shared: { outcome: RushOutcome; units: number; costs: RequestCosts; micros: number },
): number {
  const { outcome, units, costs, micros } = shared;
  const waiting = hotPaths.filter(({ queued }) => queued > 0);
  const each = outcome.won < units ? costs.redisWinMicros : costs.redisRefusalMicros;
  let spent = 0;
  for (let call = 0; call < waiting.length * CALLS_PER_MS_MAX && spent < micros; call++) {
    // Another hot path is first in each millisecond.
    const hotPath = waiting[(call + ms) % waiting.length]!;
    const count = Math.min(hotPath.queued, BATCH_SIZE);
    const wins = Math.min(count, units - outcome.won);
    outcome.won += wins;
    outcome.refused += count - wins;
    hotPath.queued -= count;
    spent += wins * costs.redisWinMicros + (count - wins) * costs.redisRefusalMicros;
  }
  const perMs = Math.min(BATCH_SIZE * CALLS_PER_MS_MAX, MS_MICROS / each / waiting.length);
  for (const hotPath of waiting) hotPath.decidedPerMs = perMs;
  return spent;
}
