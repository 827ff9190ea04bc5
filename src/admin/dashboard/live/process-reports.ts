/** What hot paths and persisters report: a row for each of them, and the decisions on a sale, added up over all of them. */

import {
  type CounterPlace,
  type Reported,
  readReports,
  WATCHED_MS,
  watch,
} from '../../../counters/counter-keys.ts';
import { addBuckets, type Percentiles, percentilesOf } from '../../../counters/latency-buckets.ts';
import type { Servers } from '../../context.ts';
import { PacedRead } from './paced-read.ts';

export interface ProcessRow {
  process: Reported['process'];
  id: string;
  pid: number;
  host: string;
  startedAt: string;
  seenAt: string;
  ready: boolean;
  cpu: number;
  loopUtilization: number;
  backlogRows?: number | undefined;
  connections?: number | undefined;
  liveSubscribers?: number | undefined;
  version: string;
}

export interface Decisions {
  /** By outcome, in the last second. */
  perSecond: Record<string, number>;
  withoutRedisPerSecond: number;
  /** By outcome, since the hot paths that run now have started. */
  total: Record<string, number>;
  withoutRedis: number;
  /** False: a hot path serves too many sales to report all of them. */
  isComplete: boolean;
}

export class ProcessReports {
  readonly #servers: Pick<Servers, 'shards' | 'log'>;
  readonly #watchedMs = new Map<number, number>();
  readonly #reports = new PacedRead(() => this.#readAll());
  #lastProblem = '';

  constructor(servers: Pick<Servers, 'shards' | 'log'>) {
    this.#servers = servers;
  }

  /** The reports on all servers that can be read. Not current: Redis does not reply. */
  async read(ageMsMax: number): Promise<{ reports: readonly Reported[]; isCurrent: boolean }> {
    const { value = [], isCurrent } = await this.#reports.get(ageMsMax);
    return { reports: isCurrent ? value : [], isCurrent };
  }

  async #readAll(): Promise<Reported[]> {
    const { servers } = this.#servers.shards;
    const found = await Promise.all(
      servers.map(async (place) => {
        try {
          this.#watch(place);
          return await readReports(place);
        } catch (error) {
          this.#warn(error as Error);
          return [];
        }
      }),
    );
    return found.flat();
  }

  /** Nothing waits for it: without it, processes report every two seconds. */
  #watch(place: CounterPlace): void {
    const nowMs = performance.now();
    if (nowMs - (this.#watchedMs.get(place.number) ?? Number.NEGATIVE_INFINITY) < WATCHED_MS / 2)
      return;
    this.#watchedMs.set(place.number, nowMs);
    watch(place).catch((error: Error) => this.#warn(error));
  }

  /** Once for each reply of Redis, such as a missing permission. Its absence is reported elsewhere. */
  #warn(error: Error): void {
    if (error.name !== 'ReplyError' || error.message === this.#lastProblem) return;
    this.#lastProblem = error.message;
    this.#servers.log.warn({ reason: error.message }, 'counters not read');
  }
}

/** A process reports to each server that it uses; the latest report counts. */
export function rowsOf(reports: readonly Reported[]): ProcessRow[] {
  const latest = new Map<string, Reported>();
  for (const report of reports) {
    const known = latest.get(report.id);
    if (!known || known.seenAt < report.seenAt) latest.set(report.id, report);
  }
  return [...latest.values()]
    .map(({ startedAt, seenAt, sales: _sales, moreSales: _more, ...row }) => ({
      ...row,
      startedAt: new Date(startedAt).toISOString(),
      seenAt: new Date(seenAt).toISOString(),
    }))
    .toSorted((a, b) => sortKey(a).localeCompare(sortKey(b)));
}

function sortKey({ process, host, startedAt, id }: ProcessRow): string {
  return `${process} ${host} ${startedAt} ${id}`;
}

export function decisionsOf(
  reports: readonly Reported[],
  saleId: string,
): { decisions: Decisions; latencyMs: Percentiles | null } {
  const perSecond = new Map<string, number>();
  const total = new Map<string, number>();
  const add = (sums: Map<string, number>, name: string, value: number) =>
    sums.set(name, (sums.get(name) ?? 0) + value);
  const latencies: number[] = [];
  let [withoutRedis, withoutRedisPerSecond, maxMs] = [0, 0, 0];
  for (const { sales } of reports) {
    const sale = sales.find((each) => each.saleId === saleId);
    if (!sale) continue;
    const rateOf = (inWindow: number) => (inWindow * 1_000) / sale.windowMs;
    for (const [outcome, [all, inWindow]] of Object.entries(sale.outcomes)) {
      add(total, outcome, all);
      add(perSecond, outcome, rateOf(inWindow));
    }
    withoutRedis += sale.withoutRedis[0];
    withoutRedisPerSecond += rateOf(sale.withoutRedis[1]);
    addBuckets(latencies, sale.latency?.recent ?? '');
    maxMs = Math.max(maxMs, sale.latency?.recentMaxMs ?? 0);
  }
  return {
    decisions: {
      perSecond: Object.fromEntries(
        Array.from(perSecond, ([outcome, rate]) => [outcome, toTenths(rate)]),
      ),
      withoutRedisPerSecond: toTenths(withoutRedisPerSecond),
      total: Object.fromEntries(total),
      withoutRedis,
      isComplete: reports.every(
        ({ moreSales, sales }) => moreSales === 0 || sales.some((each) => each.saleId === saleId),
      ),
    },
    latencyMs: percentilesOf(latencies, maxMs),
  };
}

function toTenths(rate: number): number {
  return Math.round(rate * 10) / 10;
}
