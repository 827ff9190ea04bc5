/**
 * A rush on one sale, millisecond by millisecond, from what one request was measured to cost: when has everybody had an
 * answer? A model, and no more than that: each front end and the shard have a core that does nothing else, no packet takes
 * time, and nothing fails. `npm run bench:growth -- --only rush` holds it against a rush that happened.
 *
 * Buyers press at moments, and at front ends, that a seed draws. Whoever comes to a front end that does not know yet who
 * has something costs it a win's work and stands in its line for Redis; where the line is too long he is told to come
 * back, and does a second later. Redis decides batch after batch, from each line in turn; once nothing is
 * left, front ends read who has something, with at most half of Redis' time.
 */
import { Random } from '../../harness/random.ts';

/** As src/hot-path/sales/sold-out.ts asks: 1,000 every 5 ms. */
export const HOLDERS_PER_SECOND_MAX = 200_000;

/** Measured, µs of CPU time. */
export interface RequestCosts {
  /** Of a front end: somebody refused there, a token seen for the first time, a win. */
  refusalMicros: number;
  signatureMicros: number;
  winMicros: number;
  /** Of Redis: a win, somebody refused there, a buyer of those who have something told to one front end. */
  redisWinMicros: number;
  redisRefusalMicros: number;
  holderMicros: number;
}

export interface RushChoices {
  buyers: number;
  /** All of them press within so long. */
  withinMs: number;
  units: number;
  hotPaths: number;
  seed: number;
  costs: RequestCosts;
}

export interface RushOutcome {
  won: number;
  refused: number;
  /** Times that somebody was told to come back. */
  sentAway: number;
  /** From the first buyer on; undefined where not everything was sold. */
  soldOutMs: number | undefined;
  answeredMs: number;
  /** Of CPU time, all front ends together. */
  hotPathSeconds: number;
}

const MS_MICROS = 1_000;
/** As the engine is by default: WAITING_MAX, and two calls of BATCH_SIZE_MAX that take a millisecond each. */
const LINE_MAX = 20_000;
const BATCH_SIZE = 128;
const CALLS_PER_MS_MAX = 2;
/** Whoever would wait longer is told so at once. */
const WAIT_MS_MAX = 2_000;
/** Retry-After. */
const BACK_AFTER_MS = 1_000;
const READING_SHARE_MAX = 0.5;
/** A model that does not come to an end by then is wrong. */
const MS_MAX = 3_600_000;

class HotPath {
  /** Came for the first time, and again; neither read yet. */
  fresh = 0;
  returned = 0;
  inLine = 0;
  /** Of its line, as Redis went last. */
  decidedPerMs = BATCH_SIZE * CALLS_PER_MS_MAX;
  /** Buyers who have something, as far as this front end knows. */
  holders = 0;
  /** When how many come back. */
  readonly back = new Map<number, number>();
  /** What is left of its time; less than nothing when the last request took longer. */
  micros = 0;
  workedMicros = 0;
}

export function simulateRush(choices: RushChoices): RushOutcome {
  const { buyers, units, costs } = choices;
  const arrivals = draw(choices);
  const hotPaths = Array.from({ length: choices.hotPaths }, () => new HotPath());
  const outcome: RushOutcome = {
    won: 0,
    refused: 0,
    sentAway: 0,
    soldOutMs: undefined,
    answeredMs: 0,
    hotPathSeconds: 0,
  };
  let redisMicros = 0;
  for (let ms = 0; outcome.won + outcome.refused < buyers; ms++) {
    if (ms > MS_MAX) throw new Error(`the rush is not over after ${ms} ms`);
    for (const [index, each] of hotPaths.entries()) {
      each.fresh += arrivals[ms]?.[index] ?? 0;
      each.returned += each.back.get(ms) ?? 0;
      each.back.delete(ms);
      const knows = outcome.soldOutMs !== undefined && each.holders >= units;
      // Time that was not needed is gone; what was overdrawn is owed.
      each.micros = Math.min(each.micros, 0) + MS_MICROS;
      if (knows) outcome.refused += refuse(each, costs);
      else outcome.sentAway += lineUp(each, costs, ms);
    }
    redisMicros = Math.min(redisMicros, 0) + MS_MICROS;
    if (outcome.soldOutMs !== undefined) redisMicros -= readHolders(hotPaths, units, costs);
    redisMicros -= decide(hotPaths, ms, { outcome, units, costs, micros: redisMicros });
    if (outcome.won === units) outcome.soldOutMs ??= ms + 1;
    outcome.answeredMs = ms + 1;
  }
  outcome.hotPathSeconds = hotPaths.reduce((sum, { workedMicros }) => sum + workedMicros, 0) / 1e6;
  return outcome;
}

/** By millisecond, how many come to each front end. */
function draw({ buyers, withinMs, hotPaths, seed }: RushChoices): Uint32Array[] {
  const random = new Random(seed);
  const arrivals = Array.from({ length: withinMs }, () => new Uint32Array(hotPaths));
  for (let buyer = 0; buyer < buyers; buyer++) {
    const ms = Math.floor(random.next() * withinMs);
    arrivals[ms]![Math.floor(random.next() * hotPaths)]!++;
  }
  return arrivals;
}

/** Without Redis. */
function refuse(hotPath: HotPath, { refusalMicros, signatureMicros }: RequestCosts) {
  const first = read(hotPath, 'fresh', refusalMicros + signatureMicros);
  return first + read(hotPath, 'returned', refusalMicros);
}

/** Into the line, or back a second later; tells how many were sent away. */
function lineUp(hotPath: HotPath, costs: RequestCosts, ms: number): number {
  const { winMicros, refusalMicros, signatureMicros } = costs;
  const room = () =>
    Math.min(LINE_MAX, Math.ceil(hotPath.decidedPerMs * WAIT_MS_MAX)) - hotPath.inLine;
  // Who has come back has waited.
  for (const [who, token] of [
    ['returned', 0],
    ['fresh', signatureMicros],
  ] as const) {
    hotPath.inLine += read(hotPath, who, winMicros + token, Math.max(0, room()));
  }
  if (room() > 0) return 0;
  const away =
    read(hotPath, 'returned', refusalMicros) +
    read(hotPath, 'fresh', refusalMicros + signatureMicros);
  if (away > 0) hotPath.back.set(ms + BACK_AFTER_MS, away);
  return away;
}

/** As many as there is time for. The last one begun is finished, with time of the next millisecond. */
function read(
  hotPath: HotPath,
  who: 'fresh' | 'returned',
  micros: number,
  most = Number.POSITIVE_INFINITY,
): number {
  const inTime = Math.max(0, Math.ceil(hotPath.micros / micros));
  const count = Math.min(hotPath[who], inTime, most);
  hotPath[who] -= count;
  hotPath.micros -= count * micros;
  hotPath.workedMicros += count * micros;
  return count;
}

/** Tells what it took of Redis' time. */
function readHolders(
  hotPaths: readonly HotPath[],
  units: number,
  { holderMicros }: RequestCosts,
): number {
  const reading = hotPaths.filter(({ holders }) => holders < units);
  if (reading.length === 0) return 0;
  const inTime = (MS_MICROS * READING_SHARE_MAX) / holderMicros / reading.length;
  const each = Math.min(HOLDERS_PER_SECOND_MAX / 1_000, inTime);
  for (const hotPath of reading) hotPath.holders += each;
  return reading.length * each * holderMicros;
}

/** Batch after batch, from each line in turn; tells what it took of Redis' time. */
function decide(
  hotPaths: readonly HotPath[],
  ms: number,
  shared: {
    outcome: RushOutcome;
    units: number;
    costs: RequestCosts;
    micros: number;
  },
): number {
  const { outcome, units, costs, micros } = shared;
  const waiting = hotPaths.filter(({ inLine }) => inLine > 0);
  const each = outcome.won < units ? costs.redisWinMicros : costs.redisRefusalMicros;
  let spent = 0;
  for (let call = 0; call < waiting.length * CALLS_PER_MS_MAX && spent < micros; call++) {
    // Another one is the first each time.
    const hotPath = waiting[(call + ms) % waiting.length]!;
    const count = Math.min(hotPath.inLine, BATCH_SIZE);
    const wins = Math.min(count, units - outcome.won);
    outcome.won += wins;
    outcome.refused += count - wins;
    hotPath.inLine -= count;
    spent += wins * costs.redisWinMicros + (count - wins) * costs.redisRefusalMicros;
  }
  const perMs = Math.min(BATCH_SIZE * CALLS_PER_MS_MAX, MS_MICROS / each / waiting.length);
  for (const hotPath of waiting) hotPath.decidedPerMs = perMs;
  return spent;
}
