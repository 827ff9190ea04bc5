/**
 * Reports the counters of this process to every server that it uses: twice a second while somebody looks at them, every
 * two seconds otherwise. It is never in the way of other calls: nothing waits for it, a server has at most one report in
 * flight, and none is sent to a server that is not ready.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { nanoid } from 'nanoid';
import type { Logger } from 'pino';
import { COUNTERS_NEEDED, refusedCommands } from '../redis/acl.ts';
import type { Shard } from '../redis/shard.ts';
import type { Shards } from '../redis/shards.ts';
import { type CounterPlace, forget, report } from './counter-keys.ts';
import { encodeCounters, type ProcessCounters, type SaleReport } from './process-counters.ts';

const TICK_MS = 500;
/** Timers starve while many sockets are ready: from this delay on, requests cause the tick. */
const LATE_MS = 750;
const UNWATCHED_MS = 2_000;
/** After an error of Redis itself, such as a missing permission. */
const REJECTED_MS = 30_000;
const FORGET_MS_MAX = 200;
/** More do not fit into a report. */
const SALES_MAX = 40;

const { version: VERSION } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };

type Vitals = Pick<ProcessCounters, 'ready' | 'backlogRows' | 'connections' | 'liveSubscribers'>;

export interface ReporterOptions {
  process: ProcessCounters['process'];
  shards: Shards;
  log: Logger;
  vitals: () => Vitals;
  /** Called at each tick. */
  sample?: (nowMs: number) => void;
  /** At most `most` of the sales on one server. */
  salesOn?: (isOnServer: (saleId: string) => boolean, most: number) => SaleReport;
}

/** When a server gets the next report, on this process' monotonic clock. */
interface Schedule {
  dueMs: number;
  isInFlight: boolean;
}

export class Reporter {
  readonly #options: ReporterOptions;
  readonly #id = nanoid(10);
  readonly #startedAt = Date.now() - Math.round(process.uptime() * 1_000);
  readonly #schedules = new WeakMap<Shard, Schedule>();
  readonly #usage = new ProcessUsage();
  readonly #timer = setInterval(() => this.#tick(performance.now()), TICK_MS).unref();
  #lateMs = performance.now() + LATE_MS;
  #lastProblem = '';

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** Called with each request, so that a busy process still reports. */
  tickIfLate(nowMs: number): void {
    if (nowMs >= this.#lateMs) this.#tick(nowMs);
  }

  /** Removes what this process has reported. Takes at most FORGET_MS_MAX. Call it before the connections are closed. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#lateMs = Number.POSITIVE_INFINITY;
    const forgetting = this.#options.shards.servers.map((place) => forget(place, this.#id));
    const limit = sleep(FORGET_MS_MAX, undefined, { ref: false });
    await Promise.race([Promise.allSettled(forgetting), limit]);
  }

  #tick(nowMs: number): void {
    this.#lateMs = nowMs + LATE_MS;
    this.#options.sample?.(nowMs);
    this.#usage.sample(nowMs);
    for (const place of this.#options.shards.servers) {
      const schedule = this.#schedules.get(place.shard) ?? { dueMs: 0, isInFlight: false };
      this.#schedules.set(place.shard, schedule);
      if (nowMs >= schedule.dueMs && !schedule.isInFlight) void this.#send(place, schedule);
    }
  }

  async #send(place: CounterPlace, schedule: Schedule): Promise<void> {
    const { shard } = place;
    const sentAt = performance.now();
    schedule.isInFlight = true;
    try {
      const isWatched = await report(place, this.#id, this.#textFor(shard));
      // A tick is never exactly on time.
      schedule.dueMs = sentAt + (isWatched ? 0 : UNWATCHED_MS - TICK_MS / 2);
      this.#lastProblem = '';
    } catch (error) {
      // Without a connection, or with a lost one, the next tick tries again.
      if (shard.runId !== undefined && isReplyOfRedis(error)) {
        schedule.dueMs = sentAt + REJECTED_MS;
        await this.#explain(place, error).catch(() => undefined);
      }
    } finally {
      schedule.isInFlight = false;
    }
  }

  #textFor(shard: Shard): string {
    const { process: kind, shards, vitals, salesOn } = this.#options;
    const isOnServer = (saleId: string) => {
      try {
        return shards.of(saleId) === shard;
      } catch {
        return false;
      }
    };
    return encodeCounters({
      process: kind,
      id: this.#id,
      pid: process.pid,
      host: hostname().slice(0, 100),
      startedAt: this.#startedAt,
      version: VERSION,
      ...vitals(),
      ...this.#usage.shares,
      ...(salesOn?.(isOnServer, SALES_MAX) ?? { sales: [], moreSales: 0 }),
    });
  }

  /** Once for each reason, which names the permissions that are missing, if that is why. */
  async #explain({ shard }: CounterPlace, error: unknown): Promise<void> {
    const refused = await refusedCommands(shard.client, COUNTERS_NEEDED);
    const reason =
      refused.length > 0
        ? `the user of Redis may not ${refused.join(', ')}; by ACL SETUSER allow these commands and the keys ~fs:*, or do without this process in the dashboard`
        : (error as Error).message;
    if (reason === this.#lastProblem) return;
    this.#lastProblem = reason;
    this.#options.log.warn({ reason }, 'counters not reported');
  }
}

function isReplyOfRedis(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

/** How much of a core this process uses, and how busy its event loop is, between two ticks. */
class ProcessUsage {
  #atMs = performance.now();
  #cpu = process.cpuUsage();
  #loop: EventLoopUtilization = performance.eventLoopUtilization();
  shares = { cpu: 0, loopUtilization: 0 };

  sample(nowMs: number): void {
    const passedMs = nowMs - this.#atMs;
    if (passedMs < TICK_MS / 2) return;
    const cpu = process.cpuUsage();
    const loop = performance.eventLoopUtilization();
    const usedMs = (cpu.user + cpu.system - this.#cpu.user - this.#cpu.system) / 1_000;
    this.shares = {
      cpu: toHundredths(usedMs / passedMs),
      loopUtilization: toHundredths(performance.eventLoopUtilization(loop, this.#loop).utilization),
    };
    this.#atMs = nowMs;
    this.#cpu = cpu;
    this.#loop = loop;
  }
}

function toHundredths(share: number): number {
  return Math.round(Math.max(0, share) * 100) / 100;
}
