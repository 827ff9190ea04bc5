/**
 * Sends due deliveries: claims, sends, settles. Concurrency is limited in total and per endpoint, so that an endpoint
 * that hangs delays no other. Results of an endpoint that arrive during a write are written together afterwards.
 */
import { pause } from '../../process/backoff.ts';
import type { PersisterContext } from '../context.ts';
import { StoppingError } from '../database/database.ts';
import { Loop } from '../loop.ts';
import { type Claimed, claim, release } from './claim.ts';
import { Sender } from './send.ts';
import { type Attempt, type Settled, settle } from './settle.ts';

/** Sockets in total. Five endpoints that hang at once can occupy all of them, until their first attempts time out. */
const IN_FLIGHT_MAX = 128;
/** Measured: 10,000 deliveries in 12 s to one endpoint that responds at once, 2 cores, a PostgreSQL that fsyncs. */
const IN_FLIGHT_PER_ENDPOINT_MAX = 25;
/** Capacity that becomes free within this time is filled by one claim. */
const BETWEEN_CLAIMS_MS = 5;
/** How long attempts in flight may take to end when the process stops. */
const CLOSE_GRACE_MS = 1_500;

interface Lane {
  inFlight: number;
  attempts: Attempt[];
  isSettling: boolean;
}

export class Deliverer {
  readonly #context: PersisterContext;
  readonly #sender: Sender;
  readonly #loop: Loop;
  readonly #lanes = new Map<string, Lane>();
  readonly #running = new Set<Promise<void>>();
  readonly #cutOff = new AbortController();
  readonly #unfinished: Claimed[] = [];
  #inFlight = 0;
  #hasFreedCapacity = false;

  constructor(context: PersisterContext) {
    const { stopping, webhookTargets } = context;
    const { pollMs, timeoutMs } = context.timings.webhooks;
    this.#context = context;
    this.#sender = new Sender(webhookTargets, timeoutMs);
    this.#loop = new Loop({
      turn: async () => {
        await pause(BETWEEN_CLAIMS_MS, stopping);
        this.#hasFreedCapacity = false;
        if (!stopping.aborted && (await context.pairing.mayWork())) await this.#fill();
        return this.#hasFreedCapacity ? 0 : pollMs;
      },
      onFailure: (err) => context.log.error({ err }, 'claiming webhook deliveries failed'),
      backoff: { firstMs: pollMs, mostMs: pollMs },
    }).stopWith(stopping);
  }

  /** Resolves after the stop, once attempts in flight have ended or been cut off. */
  async run(): Promise<void> {
    await this.#loop.run();
    await this.#close();
  }

  /** There are new deliveries. */
  wake(): void {
    this.#loop.wake();
  }

  async #fill(): Promise<void> {
    const capacity = {
      total: IN_FLIGHT_MAX - this.#inFlight,
      perEndpoint: IN_FLIGHT_PER_ENDPOINT_MAX,
      inFlight: new Map([...this.#lanes].map(([webhookId, { inFlight }]) => [webhookId, inFlight])),
      leaseMs: this.#context.timings.webhooks.leaseMs,
    };
    if (capacity.total <= 0) return;
    const claimed = await this.#context.database.run((sql) => claim(sql, capacity));
    for (const one of claimed) {
      const run = this.#deliver(one).finally(() => this.#running.delete(run));
      this.#running.add(run);
    }
  }

  async #deliver(claimed: Claimed): Promise<void> {
    const { webhookId } = claimed;
    const lane = this.#lanes.get(webhookId) ?? { inFlight: 0, attempts: [], isSettling: false };
    this.#lanes.set(webhookId, lane);
    lane.inFlight += 1;
    this.#inFlight += 1;
    const stopTimer = this.#context.metrics.attemptSeconds.startTimer();
    const sent = await this.#sender.send(claimed, this.#cutOff.signal);
    stopTimer();
    if (this.#cutOff.signal.aborted && sent.outcome === 'failed') {
      this.#unfinished.push(claimed);
      return;
    }
    this.#context.metrics.attempts.inc({ outcome: sent.outcome });
    lane.attempts.push({ claimed, sent });
    if (!lane.isSettling) await this.#settle(webhookId, lane);
  }

  /** Frees capacity only after the write: while PostgreSQL is unavailable, no more is sent than can be stored. */
  async #settle(webhookId: string, lane: Lane): Promise<void> {
    lane.isSettling = true;
    while (lane.attempts.length > 0) {
      const attempts = lane.attempts.splice(0);
      const { database, timings, log } = this.#context;
      try {
        this.#report(
          webhookId,
          await database.run((sql) => settle(sql, webhookId, attempts, timings.webhooks)),
        );
      } catch (err) {
        // The result is lost, so the message is sent again: delivery is at least once.
        if (!(err instanceof StoppingError))
          log.error({ webhookId, err }, 'writing webhook results failed');
      }
      lane.inFlight -= attempts.length;
      this.#inFlight -= attempts.length;
      this.#hasFreedCapacity = true;
      this.#loop.wake();
    }
    lane.isSettling = false;
    if (lane.inFlight === 0) this.#lanes.delete(webhookId);
  }

  #report(webhookId: string, { dead, change, error }: Settled): void {
    const { log, metrics } = this.#context;
    if (dead > 0) {
      metrics.deadDeliveries.inc(dead);
      log.warn({ webhookId, dead, reason: error }, 'webhook deliveries given up');
    }
    if (change === 'paused') log.warn({ webhookId, reason: error }, 'webhook endpoint paused');
    if (change === 'closed') log.info({ webhookId }, 'webhook endpoint recovered');
    if (change === 'disabled') log.warn({ webhookId, reason: error }, 'webhook endpoint disabled');
  }

  async #close(): Promise<void> {
    await Promise.race([
      Promise.all(this.#running),
      pause(CLOSE_GRACE_MS, new AbortController().signal),
    ]);
    this.#cutOff.abort();
    await Promise.all(this.#running);
    this.#sender.close();
    if (this.#unfinished.length === 0) return;
    try {
      await this.#context.database.run((sql) => release(sql, this.#unfinished));
    } catch {
      // They become due again when their lease ends.
    }
  }
}
