/**
 * Runs a drain and a sweep for every sale in PostgreSQL that is not archived. Both sleep while their sale is idle. They are
 * woken by hints over publish/subscribe; by what changed in PostgreSQL, which is read every second; and when a server
 * became available or lost its data. While PostgreSQL is unavailable, the last list stays in use.
 */
import { saleKey } from '../lua/keys.ts';
import { pause } from '../process/backoff.ts';
import type { PinnedServer } from '../redis/shard.ts';
import type { PersisterContext } from './context.ts';
import { IdleLooks } from './idle-looks.ts';
import { Loop } from './loop.ts';
import { RecoveryLog } from './recover/recovery-log.ts';
import { SaleDrain } from './sale-drain.ts';
import { byUrgency, type ListedSale, listChanged, listSales } from './sale-list.ts';
import { SaleSweep } from './sale-sweep.ts';
import { TurnQueue } from './turn-queue.ts';

const LIST_INTERVAL_MS = 1_000;
const LIST_ALL_MS = 60_000;
/** Hints cause at most one list in this time. */
const LIST_PAUSE_MS = 50;
const PROBE_INTERVAL_MS = 250;
/**
 * When all sales are swept, the most urgent ones begin at once, and the others one after another. Thousands of calls at
 * once would all time out.
 */
const AT_ONCE = 100;
const SPACING_MS = 1;
/** Sweeps that nothing asks for, of sales that are not at rest. With many of them, each is swept less often. */
const LOOKS_PER_SECOND = 25;
/** A check by another clock than Redis' may be too early or too late. */
const CLOCK_EARLY_MS = 5_000;
const CLOCK_LATE_MS = 15_000;

interface SaleWork {
  sale: ListedSale;
  drain: SaleDrain;
  sweep: SaleSweep;
}

export class SaleWorkers {
  readonly #context: PersisterContext;
  readonly #recoveryLog: RecoveryLog;
  readonly #turns: TurnQueue;
  readonly #sales = new Map<string, SaleWork>();
  readonly #runs = new Set<Promise<void>>();
  readonly #lists: Loop;
  readonly #probes: Loop;
  readonly #idleLooks: IdleLooks;
  /** Sales whose hints have not been followed by a list. */
  #hinted = new Set<string>();
  /** Sales that changed in PostgreSQL or were hinted since the last `activeSales`. */
  #changed = new Set<string>();
  #listedMs = Number.NEGATIVE_INFINITY;
  #listAllMs = 0;
  #newestChangeMs = 0;
  #lookMs: number;

  constructor(context: PersisterContext, turnsMax: number) {
    this.#context = context;
    this.#lookMs = context.timings.lookMs;
    this.#recoveryLog = new RecoveryLog(context);
    this.#turns = new TurnQueue(turnsMax, context.stopping);
    this.#idleLooks = new IdleLooks(context, this.#sales);
    this.#lists = new Loop({
      turn: async () => {
        const sinceMs = performance.now() - this.#listedMs;
        if (sinceMs < LIST_PAUSE_MS) await pause(LIST_PAUSE_MS - sinceMs, context.stopping);
        await this.#updateSales();
        return LIST_INTERVAL_MS;
      },
      onFailure: (error) => {
        throw error;
      },
      backoff: { firstMs: LIST_INTERVAL_MS, mostMs: LIST_INTERVAL_MS },
    }).stopWith(context.stopping);
    this.#probes = new Loop({
      turn: async () => {
        await this.#probe();
        return PROBE_INTERVAL_MS;
      },
      onFailure: () => undefined,
      backoff: { firstMs: PROBE_INTERVAL_MS, mostMs: PROBE_INTERVAL_MS },
    }).stopWith(context.stopping);
  }

  /** Resolves after the stop, once every drain and sweep has finished its turn. */
  async run(): Promise<void> {
    await Promise.all([this.#lists.run(), this.#probes.run(), this.#idleLooks.run()]);
    for (const work of this.#sales.values()) stop(work);
    await Promise.all(this.#runs);
  }

  /** The sale has new events, or a client found it closed. */
  hintWork(saleId: string): void {
    const work = this.#sales.get(saleId);
    if (work) work.drain.hint();
    else this.hintChanged(saleId);
  }

  /** An operator changed the sale: it may be new, or have other deadlines. Or its units were returned. */
  hintChanged(saleId: string): void {
    const work = this.#sales.get(saleId);
    if (work && !work.drain.isOpen) work.drain.wake();
    work?.sweep.hint();
    this.#hinted.add(saleId);
    this.#lists.wake();
  }

  /** Hints may have been missed, or a clock jumped: sweeps sleep until deadlines that may have come. */
  lookAtAll(): void {
    for (const [index, { sweep }] of this.#byUrgency().entries()) sweep.hint(spacedMs(index));
  }

  /** A server became available or lost its data. The most urgent sales come first. */
  wakeAll(): void {
    for (const [index, { drain, sweep }] of this.#byUrgency().entries()) {
      // The sweep of a sale at rest wakes the drain if there is anything to do.
      if (!(drain.isAtRest && drain.isAsleep)) drain.wake();
      sweep.hint(spacedMs(index));
    }
  }

  /** Sales that were active or changed since the last call, or whose start or end has come. */
  activeSales(): string[] {
    const nowMs = Date.now();
    const changed = this.#changed;
    this.#changed = new Set();
    const isNow = (atMs: number | null) =>
      atMs !== null && atMs > nowMs - CLOCK_LATE_MS && atMs < nowMs + CLOCK_EARLY_MS;
    return [...this.#sales.values()]
      .filter(
        ({ sale, drain }) =>
          drain.takeActivity() ||
          changed.has(sale.saleId) ||
          isNow(sale.startsAt) ||
          isNow(sale.endsAt),
      )
      .map(({ sale }) => sale.saleId);
  }

  /** Events in Redis that PostgreSQL does not have, as of the last measurement of each sale. */
  get backlogRows(): number {
    let rows = 0;
    for (const { drain } of this.#sales.values()) rows += drain.lagEvents;
    return rows;
  }

  /** Of sales that are drained now. A sale that cannot be reached keeps its last measurement. */
  async measureLag(): Promise<void> {
    const drains = [...this.#sales.values()].map(({ drain }) => drain);
    const measured = drains.filter((drain) => !drain.isAsleep && (drain.isOpen || !drain.isAtRest));
    await Promise.allSettled(measured.map((drain) => drain.measureLag()));
  }

  #byUrgency(): SaleWork[] {
    return [...this.#sales.values()].toSorted((a, b) => byUrgency(a.sale, b.sale));
  }

  async #updateSales(): Promise<void> {
    const { database } = this.#context;
    const startedMs = performance.now();
    const hinted = [...this.#hinted];
    this.#hinted.clear();
    if (startedMs >= this.#listAllMs) {
      const sales = await database.run(listSales);
      this.#listAllMs = startedMs + LIST_ALL_MS;
      const present = new Set(sales.map(({ saleId }) => saleId));
      for (const saleId of this.#sales.keys()) if (!present.has(saleId)) this.#forget(saleId);
      this.#startAll(sales);
      for (const sale of sales) this.#update(sale);
    } else {
      const listAgeMs = startedMs - this.#listedMs;
      const { sales, gone, newestChangeMs } = await database.run((sql) =>
        listChanged(sql, { hinted, listAgeMs }),
      );
      for (const saleId of gone) this.#forget(saleId);
      this.#startAll(sales);
      for (const sale of sales) {
        this.#changed.add(sale.saleId);
        this.#update(sale).sweep.hint();
      }
      // An older backup was restored, unless the sale that had changed last was deleted.
      if (newestChangeMs < this.#newestChangeMs) {
        this.#listAllMs = 0;
        for (const [index, { sweep }] of this.#byUrgency().entries()) sweep.look(spacedMs(index));
      }
      this.#newestChangeMs = newestChangeMs;
    }
    this.#listedMs = startedMs;
    const looked = [...this.#sales.values()].filter(({ drain }) => !drain.isAtRest).length;
    this.#lookMs = Math.max(this.#context.timings.lookMs, (looked / LOOKS_PER_SECOND) * 1_000);
  }

  #startAll(sales: readonly ListedSale[]): void {
    const added = sales.filter(({ saleId }) => !this.#sales.has(saleId));
    for (const [index, sale] of added.toSorted(byUrgency).entries()) {
      this.#start(sale, spacedMs(index));
    }
  }

  #start(sale: ListedSale, firstSweepMs: number): void {
    const { saleId } = sale;
    const recoveryContext = { ...this.#context, recoveryLog: this.#recoveryLog };
    const drain = new SaleDrain(recoveryContext, sale, {
      turns: this.#turns,
      onOpened: () => sweep.hint(),
    });
    const sweep = new SaleSweep(this.#context, {
      saleId,
      firstMs: firstSweepMs,
      isAtRest: () => drain.isAtRest,
      lookMs: () => this.#lookMs,
      onWork: (found) => {
        if (found === 'closed') drain.foundClosed();
        else if (found === 'failure') drain.foundFailing();
        else drain.wake();
      },
      onLook: () => void drain.lookAtBoth().catch(() => undefined),
    });
    const work = { sale, drain, sweep };
    this.#sales.set(saleId, work);
    for (const each of [drain, sweep]) {
      const run = each.run().finally(() => this.#runs.delete(run));
      this.#runs.add(run);
    }
  }

  #update(sale: ListedSale): SaleWork {
    const work = this.#sales.get(sale.saleId)!;
    work.sale = sale;
    work.drain.update(sale);
    return work;
  }

  #forget(saleId: string): void {
    const work = this.#sales.get(saleId);
    if (work) stop(work);
    this.#sales.delete(saleId);
    // PostgreSQL no longer has it, so nobody can recover it.
    this.#recoveryLog.opened(saleId);
  }

  /** A server that lost its data keeps its connections, so one sale of each server is looked up. */
  async #probe(): Promise<void> {
    const probed = new Map<string, { server: PinnedServer; saleId: string }>();
    for (const [saleId, { drain }] of this.#sales) {
      const { server } = drain;
      if (server?.isThere && !probed.has(server.runId))
        probed.set(server.runId, { server, saleId });
    }
    for (const { server, saleId } of probed.values()) {
      if ((await server.client.exists(saleKey(saleId, 'sale'))) !== 0) continue;
      // It has lost its identity too; until it is written again, another database could take its place.
      this.#context.shards.checkNow();
      this.wakeAll();
    }
  }
}

/** How long the sale at this place of the order of urgency waits. */
function spacedMs(index: number): number {
  return Math.max(0, index - AT_ONCE) * SPACING_MS;
}

function stop({ drain, sweep }: SaleWork): void {
  drain.stop();
  sweep.stop();
}
