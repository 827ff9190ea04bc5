/**
 * What a rush of so many buyers a second takes, from what one request was measured to cost. Sums and nothing else: no
 * figure in here was measured, and none that was measured is typed.
 */
import { ENGINE } from '../measure/contestants.ts';
import type { ScenarioResult } from '../report/results.ts';
import { grouped, short, table } from '../report/tables.ts';
import { HOLDERS_PER_SECOND_MAX, type RequestCosts, simulateRush } from './rush.ts';

/** Measured. */
export interface Costs extends RequestCosts {
  /** Of one persister. */
  rowsPerSecond: number;
  /** Headers too. */
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

/** A core that is planned to be busier has nothing left for a second that is busier than planned. */
export const USE_MAX = 0.7;
/** Ethernet, IPv4 and TCP with its timestamps: 14, 20 and 32 bytes, once a message; either fits in one packet. */
export const PACKET_BYTES = 66;
/** Of which the document tells. */
const UNITS = 100_000;
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

const SOURCES: Record<keyof Costs, { what: string; unit: string; from: string }> = {
  refusalMicros: {
    what: 'CPU of a front end, a refusal',
    unit: 'µs',
    from: '`bench:growth`, `connections`, the last point',
  },
  signatureMicros: {
    what: 'CPU of a front end, a token never seen before',
    unit: 'µs',
    from: '`bench`, `win-cold` − `win`',
  },
  winMicros: { what: 'CPU of a front end, a win', unit: 'µs', from: '`bench`, `win`' },
  redisWinMicros: { what: 'CPU of Redis, a win', unit: 'µs', from: '`bench`, `win`' },
  redisRefusalMicros: {
    what: 'CPU of Redis, a refusal before the front end knows',
    unit: 'µs',
    from: '`bench:growth`, `stock`, the last point',
  },
  holderMicros: {
    what: 'CPU of Redis, telling one front end of one buyer who has something',
    unit: 'µs',
    from: '`bench:growth`, `stock`, the last point',
  },
  rowsPerSecond: {
    what: 'rows a second, one persister',
    unit: '',
    from: '`bench`, `persister`',
  },
  bytesPerRequest: {
    what: 'a request, with its headers',
    unit: 'bytes',
    from: '`bench:growth`, `connections`',
  },
  bytesPerResponse: {
    what: 'a refusal, with its headers',
    unit: 'bytes',
    from: '`bench:growth`, `connections`',
  },
  bytesPerReservation: {
    what: 'memory of Redis, a reservation without a key',
    unit: 'bytes',
    from: '`bench`, `memory`',
  },
};

/** What results say of each cost; `missing` names the scenarios that have not been measured. */
export function costsOf(results: {
  throughput: readonly ScenarioResult[];
  growth: readonly ScenarioResult[];
}): { costs: Costs } | { missing: string[] } {
  const missing = new Set<string>();
  const figure = (kind: keyof typeof results, name: string, metric: string, of?: string) => {
    const found = results[kind].find((each) => each.name === name);
    const contestant = of ?? lastPoint(found);
    const median = found?.figures[contestant]?.[metric]?.median;
    if (median === undefined) missing.add(`${name} (${metric})`);
    return median ?? Number.NaN;
  };
  const win = figure('throughput', 'win', 'serverMicros', ENGINE);
  const costs: Costs = {
    refusalMicros: figure('growth', 'connections', 'serverMicros'),
    signatureMicros: Math.max(0, figure('throughput', 'win-cold', 'serverMicros', ENGINE) - win),
    winMicros: win,
    redisWinMicros: figure('throughput', 'win', 'redisMicros', ENGINE),
    redisRefusalMicros: figure('growth', 'stock', 'redisRefusalMicros'),
    holderMicros: figure('growth', 'stock', 'holderMicros'),
    rowsPerSecond: figure('throughput', 'persister', 'rowsPerSecond', 'persister'),
    bytesPerRequest: figure('growth', 'connections', 'bytesPerRequest'),
    bytesPerResponse: figure('growth', 'connections', 'bytesPerResponse'),
    bytesPerReservation: figure('throughput', 'memory', 'bytesEach', ENGINE),
  };
  return missing.size > 0 ? { missing: [...missing] } : { costs };
}

export interface Size {
  /** Cores; a front end has one. */
  hotPathsWarm: number;
  hotPathsCold: number;
  gbitInPerSecond: number;
  gbitOutPerSecond: number;
  winsPerSecond: number;
  sellOutSeconds: number;
  refusalsByRedisPerSecond: number;
  knownSeconds: number;
  drainSeconds: number;
  redisMiB: number;
  /** Where everybody wins, of so many sales at least. */
  shards: number;
  hotPathsWinning: number;
  drainAllSeconds: number;
  redisAllGiB: number;
}

export function sizeOf(costs: Costs, { buyersPerSecond, units }: Rush): Size {
  const cores = (micros: number) => Math.ceil((buyersPerSecond * micros) / 1e6 / USE_MAX);
  const gbit = (bytes: number) => (buyersPerSecond * (bytes + PACKET_BYTES) * 8) / 1e9;
  const perSecond = (micros: number) => (USE_MAX * 1e6) / micros;
  const hotPathsCold = cores(costs.refusalMicros + costs.signatureMicros);
  const winsPerSecond = perSecond(costs.redisWinMicros);
  return {
    hotPathsWarm: cores(costs.refusalMicros),
    hotPathsCold,
    gbitInPerSecond: gbit(costs.bytesPerRequest),
    gbitOutPerSecond: gbit(costs.bytesPerResponse),
    winsPerSecond,
    sellOutSeconds: units / winsPerSecond,
    refusalsByRedisPerSecond: perSecond(costs.redisRefusalMicros),
    knownSeconds: Math.max(
      units / HOLDERS_PER_SECOND_MAX,
      (hotPathsCold * units) / perSecond(costs.holderMicros),
    ),
    drainSeconds: units / costs.rowsPerSecond,
    redisMiB: (units * costs.bytesPerReservation) / 2 ** 20,
    shards: cores(costs.redisWinMicros),
    hotPathsWinning: cores(costs.winMicros + costs.signatureMicros),
    drainAllSeconds: buyersPerSecond / costs.rowsPerSecond,
    redisAllGiB: (buyersPerSecond * costs.bytesPerReservation) / 2 ** 30,
  };
}

const ROWS: readonly {
  phase: string;
  what: string;
  formula: string;
  of: keyof Size;
  unit: string;
}[] = [
  {
    phase: 'the second of the rush',
    what: 'front ends, every token new to them',
    formula: `buyers × (refusal + token) ÷ ${USE_MAX}`,
    of: 'hotPathsCold',
    unit: 'cores',
  },
  {
    phase: '',
    what: 'front ends, every token known',
    formula: `buyers × refusal ÷ ${USE_MAX}`,
    of: 'hotPathsWarm',
    unit: 'cores',
  },
  {
    phase: '',
    what: 'network, in',
    formula: `buyers × (request + ${PACKET_BYTES}) × 8`,
    of: 'gbitInPerSecond',
    unit: 'Gbit/s',
  },
  {
    phase: '',
    what: 'network, out',
    formula: `buyers × (answer + ${PACKET_BYTES}) × 8`,
    of: 'gbitOutPerSecond',
    unit: 'Gbit/s',
  },
  {
    phase: 'the sell-out',
    what: 'wins per second of one sale',
    formula: `${USE_MAX} ÷ Redis CPU per win`,
    of: 'winsPerSecond',
    unit: '',
  },
  {
    phase: '',
    what: `until ${grouped(UNITS)} units are sold`,
    formula: 'units ÷ wins per second',
    of: 'sellOutSeconds',
    unit: 's',
  },
  {
    phase: 'the refusals',
    what: 'a second, by Redis, until front ends know who has something',
    formula: `${USE_MAX} ÷ CPU of Redis a refusal`,
    of: 'refusalsByRedisPerSecond',
    unit: '',
  },
  {
    phase: '',
    what: 'until all front ends know, at least',
    formula: `units ÷ ${grouped(HOLDERS_PER_SECOND_MAX)}, or front ends × units × CPU of Redis a buyer ÷ ${USE_MAX}, whichever is more`,
    of: 'knownSeconds',
    unit: 's',
  },
  {
    phase: 'draining',
    what: 'until the rows are in PostgreSQL',
    formula: 'units ÷ rows a second',
    of: 'drainSeconds',
    unit: 's',
  },
  {
    phase: '',
    what: 'memory of Redis',
    formula: 'units × bytes a reservation',
    of: 'redisMiB',
    unit: 'MiB',
  },
  {
    phase: 'if everybody won within the second',
    what: 'Redis shards, and sales at least',
    formula: `buyers × Redis CPU per win ÷ ${USE_MAX}`,
    of: 'shards',
    unit: '',
  },
  {
    phase: '',
    what: 'front ends, every token new to them',
    formula: `buyers × (win + token) ÷ ${USE_MAX}`,
    of: 'hotPathsWinning',
    unit: 'cores',
  },
  {
    phase: '',
    what: 'until the rows are in PostgreSQL, by one persister',
    formula: 'buyers ÷ rows a second',
    of: 'drainAllSeconds',
    unit: 's',
  },
  {
    phase: '',
    what: 'memory of Redis, over all shards',
    formula: 'buyers × bytes a reservation',
    of: 'redisAllGiB',
    unit: 'GiB',
  },
];

/** What was measured, and what follows from it. */
export function sizingText(costs: Costs): string {
  const sources = Object.entries(SOURCES) as [keyof Costs, (typeof SOURCES)[keyof Costs]][];
  const measured = sources.map(([name, { what, unit, from }]) => [
    what,
    withUnit(costs[name], unit),
    from,
  ]);
  const sizes = RUSHES.map((rush) => sizeOf(costs, rush));
  const rows = ROWS.map(({ phase, what, formula, of, unit }) => [
    phase,
    what,
    formula,
    ...sizes.map((size) => withUnit(size[of], unit)),
  ]);
  const columns = RUSHES.map(({ buyersPerSecond }) => `${grouped(buyersPerSecond)} buyers`);
  return [
    table(['one of them', 'costs', 'measured by'], measured),
    table(['', 'what', 'formula', ...columns], rows),
  ].join('\n\n');
}

/** How long a rush within a second takes, by front ends; see rush.ts. */
export function rushText(costs: Costs): string {
  const rows = SIMULATED.buyers.map((buyers) => [
    `${grouped(buyers)} buyers`,
    ...SIMULATED.hotPaths.map((hotPaths) => {
      const { withinMs, units, seed } = SIMULATED;
      const rush = { buyers, withinMs, units, hotPaths, seed, costs };
      const { answeredMs, sentAway } = simulateRush(rush);
      const away = sentAway === 0 ? '' : `; ${grouped(sentAway)} times “come back”`;
      return `${short(answeredMs / 1e3)} s${away}`;
    }),
  ]);
  return table(['', ...SIMULATED.hotPaths.map((count) => `${count} front ends`)], rows);
}

function withUnit(value: number, unit: string): string {
  return `${short(value)}${unit === '' ? '' : ` ${unit}`}`;
}

/** Of scenarios whose contestants are points: where the line ends. */
function lastPoint(result: ScenarioResult | undefined): string {
  return Object.keys(result?.growth?.at ?? {}).at(-1) ?? '';
}
