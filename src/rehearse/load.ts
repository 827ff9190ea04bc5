/** A bounded load from this machine, on several threads, so that a single one does not limit it. */
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Fault } from '../domain/fault.ts';
import type { LoadOrder, LoadReport } from './load-worker.ts';
import { quantile } from './quantile.ts';

/** Each can send about 8,000 requests a second. */
const THREADS_MAX = 8;
/** A thread that is busier than this share of the time is the limit, not the system. */
const BUSY_UTILIZATION_MIN = 0.85;
/** Connections for each of the requests a second, and at least and at most. */
const CONNECTIONS_PER_RATE = 0.05;
const CONNECTIONS_MIN = 16;
const CONNECTIONS_MAX = 1_024;

export interface LoadResult {
  perSecond: number;
  seconds: number;
  outcomes: Record<string, number>;
  reservationIds: string[];
  p50Ms: number;
  p99Ms: number;
  retries: number;
  failures: Record<string, number>;
  /** This machine could not send more. */
  isLimitedHere: boolean;
}

/** Sends for `order.seconds`. Tokens that are used once limit it too. Ends at once when `stopping` is aborted. */
export async function runLoad(
  order: Omit<LoadOrder, 'connections'>,
  stopping: AbortSignal,
): Promise<LoadResult> {
  const threads = Math.max(
    1,
    Math.min(THREADS_MAX, availableParallelism() - 1, order.tokens.length),
  );
  const wanted = Math.ceil(order.perSecond * CONNECTIONS_PER_RATE);
  const connections = Math.min(CONNECTIONS_MAX, Math.max(CONNECTIONS_MIN, wanted));
  const orders = Array.from(
    { length: threads },
    (_, thread): LoadOrder => ({
      ...order,
      tokens: order.tokens.filter((_token, index) => index % threads === thread),
      perSecond: order.perSecond / threads,
      connections: Math.ceil(connections / threads),
    }),
  );
  const reports = await Promise.all(orders.map((each) => runThread(each, stopping)));
  const settled = reports.reduce((all, { latenciesMs }) => all + latenciesMs.length, 0);
  const seconds = Math.max(...reports.map(({ elapsedMs }) => elapsedMs)) / 1_000;
  const latencies = reports.flatMap(({ latenciesMs }) => latenciesMs);
  return {
    perSecond: settled / seconds,
    seconds,
    outcomes: sum(reports.map(({ outcomes }) => outcomes)),
    reservationIds: reports.flatMap(({ reservationIds }) => reservationIds),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    retries: reports.reduce((all, { retries }) => all + retries, 0),
    failures: sum(reports.map(({ failures }) => failures)),
    isLimitedHere: reports.some(({ utilization }) => utilization > BUSY_UTILIZATION_MIN),
  };
}

async function runThread(order: LoadOrder, stopping: AbortSignal): Promise<LoadReport> {
  const worker = new Worker(new URL('load-worker.ts', import.meta.url), { workerData: order });
  try {
    const [report] = (await once(worker, 'message', { signal: stopping })) as [LoadReport];
    return report;
  } catch (error) {
    if (stopping.aborted) throw error;
    throw new Fault('server_unfit', `a thread of the load failed: ${String(error)}`, {
      cause: error,
    });
  } finally {
    await worker.terminate();
  }
}

function sum(counts: readonly Record<string, number>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const each of counts) {
    for (const [name, count] of Object.entries(each)) all[name] = (all[name] ?? 0) + count;
  }
  return all;
}
