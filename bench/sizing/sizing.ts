/**
 * Sizes a rush from the measured cost of one request. Every figure is arithmetic on recorded results; no figure is
 * measured here, and no measured figure is typed here.
 */
import { ENGINE } from '../measure/contestants.ts';
import type { ScenarioResult } from '../report/results.ts';
import { grouped, short, table } from '../report/tables.ts';
import { type RequestCosts, simulateRush } from './rush.ts';

export interface Costs extends RequestCosts {
  /** Of Redis: one holder sent to one hot path. */
  holderMicros: number;
  /** Of one persister. */
  rowsPerSecond: number;
  /** With headers. */
  bytesPerRequest: number;
  bytesPerResponse: number;
  /** In Redis. */
  bytesPerReservation: number;
}

export interface Rush {
  buyersPerSecond: number;
  /** Of one sale. */
  units: number;
}

/** Planned load of a core; the rest is for seconds that are busier than planned. */
const USE_MAX = 0.7;
/** Ethernet, IPv4 and TCP with timestamps: 14, 20 and 32 bytes, once a message. Each message fits in one packet. */
const PACKET_BYTES = 66;
const UNITS = 100_000;
/** By one hot path on a slow machine: `npm run bench:growth -- --only stock`, on the late hot path. */
const HOLDERS_PER_SECOND_MAX = 200_000;
const RUSHES: readonly Rush[] = [1_000_000, 10_000_000].map((buyersPerSecond) => ({
  buyersPerSecond,
  units: UNITS,
}));
const SIMULATED = {
  buyers: [100_000, 1_000_000, 10_000_000],
  hotPaths: [8, 32, 128],
  withinMs: 1_000,
  units: UNITS,
  seed: 1,
};

type Recorded = 'throughput' | 'growth';
/** A median; of the last point of a growth scenario where no contestant is named. */
type Median = (of: Recorded, scenario: string, metric: string, contestant?: string) => number;

const MEASURED: Record<
  keyof Costs,
  { what: string; unit: string; from: string; value: (median: Median) => number }
> = {
  refusalMicros: {
    what: 'hot path CPU, a refusal',
    unit: 'µs',
    from: '`bench:growth`, `connections`, the last point',
    value: (median) => median('growth', 'connections', 'serverMicros'),
  },
  signatureMicros: {
    what: 'hot path CPU, a new token',
    unit: 'µs',
    from: '`bench`, `refusal-cold` − `refusal`',
    value: (median) =>
      Math.max(
        0,
        median('throughput', 'refusal-cold', 'serverMicros', ENGINE) -
          median('throughput', 'refusal', 'serverMicros', ENGINE),
      ),
  },
  winMicros: {
    what: 'hot path CPU, a win',
    unit: 'µs',
    from: '`bench`, `win`',
    value: (median) => median('throughput', 'win', 'serverMicros', ENGINE),
  },
  redisWinMicros: {
    what: 'Redis CPU, a win',
    unit: 'µs',
    from: '`bench`, `win`',
    value: (median) => median('throughput', 'win', 'redisMicros', ENGINE),
  },
  redisRefusalMicros: {
    what: 'Redis CPU, a refusal before the hot path knows the holders',
    unit: 'µs',
    from: '`bench:growth`, `stock`, the last point',
    value: (median) => median('growth', 'stock', 'redisRefusalMicros'),
  },
  holderMicros: {
    what: 'Redis CPU, one holder sent to one hot path',
    unit: 'µs',
    from: '`bench:growth`, `stock`, the last point',
    value: (median) => median('growth', 'stock', 'holderMicros'),
  },
  rowsPerSecond: {
    what: 'rows per second, one persister',
    unit: '',
    from: '`bench`, `persister`',
    value: (median) => median('throughput', 'persister', 'rowsPerSecond', 'persister'),
  },
  bytesPerRequest: {
    what: 'a request with headers',
    unit: 'bytes',
    from: '`bench:growth`, `connections`',
    value: (median) => median('growth', 'connections', 'bytesPerRequest'),
  },
  bytesPerResponse: {
    what: 'a refusal with headers',
    unit: 'bytes',
    from: '`bench:growth`, `connections`',
    value: (median) => median('growth', 'connections', 'bytesPerResponse'),
  },
  bytesPerReservation: {
    what: 'Redis memory, a reservation without a key',
    unit: 'bytes',
    from: '`bench`, `memory`',
    value: (median) => median('throughput', 'memory', 'bytesEach', ENGINE),
  },
};

/** The recorded costs, or in `missing` the scenarios without a result. */
export function costsOf(
  results: Record<Recorded, readonly ScenarioResult[]>,
): { costs: Costs } | { missing: string[] } {
  const missing = new Set<string>();
  const median: Median = (of, scenario, metric, contestant) => {
    const found = results[of].find(({ name }) => name === scenario);
    const name = contestant ?? Object.keys(found?.growth?.at ?? {}).at(-1) ?? '';
    const value = found?.figures[name]?.[metric]?.median;
    if (value === undefined) missing.add(`${scenario} (${metric})`);
    return value ?? Number.NaN;
  };
  const costs = mapValues(MEASURED, ({ value }) => value(median));
  return missing.size > 0 ? { missing: [...missing] } : { costs };
}

interface Sum {
  /** Of the rush; empty: the one of the row above. */
  phase: string;
  what: string;
  formula: string;
  unit: string;
  value: (costs: Costs, rush: Rush) => number;
}

const cores = ({ buyersPerSecond }: Rush, micros: number) =>
  Math.ceil((buyersPerSecond * micros) / 1e6 / USE_MAX);
const gbit = ({ buyersPerSecond }: Rush, bytes: number) =>
  (buyersPerSecond * (bytes + PACKET_BYTES) * 8) / 1e9;
const perSecond = (micros: number) => (USE_MAX * 1e6) / micros;

const SUMS = {
  hotPathsCold: {
    phase: 'the second of the rush',
    what: 'hot paths, every token new',
    formula: `buyers × (refusal + token) ÷ ${USE_MAX}`,
    unit: 'cores',
    value: (costs, rush) => cores(rush, costs.refusalMicros + costs.signatureMicros),
  },
  hotPathsWarm: {
    phase: '',
    what: 'hot paths, every token known',
    formula: `buyers × refusal ÷ ${USE_MAX}`,
    unit: 'cores',
    value: (costs, rush) => cores(rush, costs.refusalMicros),
  },
  gbitInPerSecond: {
    phase: '',
    what: 'network, in',
    formula: `buyers × (request + ${PACKET_BYTES}) × 8`,
    unit: 'Gbit/s',
    value: (costs, rush) => gbit(rush, costs.bytesPerRequest),
  },
  gbitOutPerSecond: {
    phase: '',
    what: 'network, out',
    formula: `buyers × (response + ${PACKET_BYTES}) × 8`,
    unit: 'Gbit/s',
    value: (costs, rush) => gbit(rush, costs.bytesPerResponse),
  },
  winsPerSecond: {
    phase: 'the sell-out',
    what: 'wins per second of one sale',
    formula: `${USE_MAX} ÷ Redis CPU per win`,
    unit: '',
    value: ({ redisWinMicros }) => perSecond(redisWinMicros),
  },
  sellOutSeconds: {
    phase: '',
    what: `until ${grouped(UNITS)} units are sold`,
    formula: 'units ÷ wins per second',
    unit: 's',
    value: ({ redisWinMicros }, { units }) => units / perSecond(redisWinMicros),
  },
  refusalsByRedisPerSecond: {
    phase: 'the refusals',
    what: 'refusals per second by Redis, until hot paths know the holders',
    formula: `${USE_MAX} ÷ Redis CPU per refusal`,
    unit: '',
    value: ({ redisRefusalMicros }) => perSecond(redisRefusalMicros),
  },
  knownSeconds: {
    phase: '',
    what: 'until they do, at least, if all start after the sell-out',
    formula: `the greater of units ÷ ${grouped(HOLDERS_PER_SECOND_MAX)} and hot paths × units × Redis CPU per holder ÷ ${USE_MAX}`,
    unit: 's',
    value: (costs, rush) =>
      Math.max(
        rush.units / HOLDERS_PER_SECOND_MAX,
        (cores(rush, costs.refusalMicros + costs.signatureMicros) * rush.units) /
          perSecond(costs.holderMicros),
      ),
  },
  drainSeconds: {
    phase: 'draining',
    what: 'until the rows are in PostgreSQL',
    formula: 'units ÷ rows per second',
    unit: 's',
    value: ({ rowsPerSecond }, { units }) => units / rowsPerSecond,
  },
  redisMiB: {
    phase: '',
    what: 'Redis memory',
    formula: 'units × bytes per reservation',
    unit: 'MiB',
    value: ({ bytesPerReservation }, { units }) => (units * bytesPerReservation) / 2 ** 20,
  },
  shards: {
    phase: 'if every buyer won within the second',
    what: 'Redis shards, and at least as many sales',
    formula: `buyers × Redis CPU per win ÷ ${USE_MAX}`,
    unit: '',
    value: (costs, rush) => cores(rush, costs.redisWinMicros),
  },
  hotPathsWinning: {
    phase: '',
    what: 'hot paths, every token new',
    formula: `buyers × (win + token) ÷ ${USE_MAX}`,
    unit: 'cores',
    value: (costs, rush) => cores(rush, costs.winMicros + costs.signatureMicros),
  },
  drainAllSeconds: {
    phase: '',
    what: 'until the rows are in PostgreSQL, with one persister',
    formula: 'buyers ÷ rows per second',
    unit: 's',
    value: ({ rowsPerSecond }, { buyersPerSecond }) => buyersPerSecond / rowsPerSecond,
  },
  redisAllGiB: {
    phase: '',
    what: 'Redis memory of all shards',
    formula: 'buyers × bytes per reservation',
    unit: 'GiB',
    value: ({ bytesPerReservation }, { buyersPerSecond }) =>
      (buyersPerSecond * bytesPerReservation) / 2 ** 30,
  },
} satisfies Record<string, Sum>;

export function sizeOf(costs: Costs, rush: Rush): Record<keyof typeof SUMS, number> {
  return mapValues<keyof typeof SUMS, Sum, number>(SUMS, ({ value }) => value(costs, rush));
}

/** The measured costs, and the sums made of them. */
export function sizingText(costs: Costs): string {
  const measured = Object.entries(MEASURED).map(([name, { what, unit, from }]) => [
    what,
    withUnit(costs[name as keyof Costs], unit),
    from,
  ]);
  const sums = Object.values<Sum>(SUMS).map(({ phase, what, formula, unit, value }) => [
    phase,
    what,
    formula,
    ...RUSHES.map((rush) => withUnit(value(costs, rush), unit)),
  ]);
  const columns = RUSHES.map(({ buyersPerSecond }) => `${grouped(buyersPerSecond)} buyers`);
  return [
    table(['one of them', 'costs', 'measured by'], measured),
    table(['', 'what', 'formula', ...columns], sums),
  ].join('\n\n');
}

/** How long a rush within one second takes, by the number of hot paths; see rush.ts. */
export function rushText(costs: Costs): string {
  const { withinMs, units, seed } = SIMULATED;
  const rows = SIMULATED.buyers.map((buyers) => [
    `${grouped(buyers)} buyers`,
    ...SIMULATED.hotPaths.map((hotPaths) => {
      const rush = { buyers, withinMs, units, hotPaths, seed, costs };
      const { finishedMs, retries } = simulateRush(rush);
      return `${short(finishedMs / 1e3)} s${retries === 0 ? '' : `, ${grouped(retries)} retries`}`;
    }),
  ]);
  return table(['', ...SIMULATED.hotPaths.map((count) => `${count} hot paths`)], rows);
}

function withUnit(value: number, unit: string): string {
  return `${short(value)}${unit === '' ? '' : ` ${unit}`}`;
}

function mapValues<Key extends string, From, To>(
  from: Record<Key, From>,
  map: (value: From) => To,
): Record<Key, To> {
  const entries = Object.entries<From>(from).map(([key, value]) => [key, map(value)]);
  return Object.fromEntries(entries) as Record<Key, To>;
}
