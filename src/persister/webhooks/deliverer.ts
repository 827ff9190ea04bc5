/**
 * Brings what is due to its endpoints: takes, sends, settles. Many at a time, but only so many for one endpoint, so
 * that one that hangs holds up nobody else. Results of an endpoint that end while earlier ones are being written are
 * written together.
 */
import type { Logger } from 'pino';
import type { TargetRules } from '../../domain/webhook-target.ts';
import { pause } from '../../process/backoff.ts';
import { type Database, StoppingError } from '../database/database.ts';
import { type Claimed, claim, release } from './claim.ts';
import type { WebhookMetrics } from './metrics.ts';
import { Sender } from './send.ts';
import { type Settled, settle, type Tried } from './settle.ts';
import type { WebhookTimings } from './timings.ts';

/** Sockets in all. Five endpoints that hang at once could hold all of them, but only until their first tries time out. */
const UNDER_WAY_MAX = 128;
/** Measured: 10,000 deliveries in 12 s to one endpoint that answers at once, 2 cores, a PostgreSQL that fsyncs. */
const UNDER_WAY_PER_ENDPOINT_MAX = 25;
/** Places that fall free so close together are filled together. */
const BETWEEN_CLAIMS_MS = 5;
/** How long tries under way may take to end when the process is asked to stop. */
const CLOSE_GRACE_MS = 1_500;

export interface DelivererContext {
  database: Database;
  log: Logger;
  metrics: WebhookMetrics;
}

interface Lane {
  underWay: number;
  tried: Tried[];
  isSettling: boolean;
}

export class Deliverer {
  readonly #context: DelivererContext;
  readonly #timings: WebhookTimings;
  readonly #stopping: AbortSignal;
  readonly #sender: Sender;
  readonly #lanes = new Map<string, Lane>();
  readonly #running = new Set<Promise<void>>();
  readonly #cutOff = new AbortController();
  readonly #untried: Claimed[] = [];
  #total = 0;
  #wake = new AbortController();

  constructor(
    context: DelivererContext,
    options: { rules: TargetRules; timings: WebhookTimings; stopping: AbortSignal },
  ) {
    this.#context = context;
    this.#timings = options.timings;
    this.#stopping = options.stopping;
    this.#sender = new Sender(options.rules, options.timings.timeoutMs);
  }

  /** Resolves when stopping, once what was under way has ended or been cut off. */
  async run(): Promise<void> {
    this.#stopping.addEventListener('abort', () => this.#wake.abort(), { once: true });
    while (!this.#stopping.aborted) {
      this.#wake = new AbortController();
      try {
        await this.#fill();
      } catch (error) {
        if (error instanceof StoppingError) break;
        this.#context.log.error({ err: error }, 'webhook deliveries could not be read');
      }
      if (this.#stopping.aborted) break;
      await pause(this.#timings.pollMs, this.#wake.signal);
      await pause(BETWEEN_CLAIMS_MS, this.#stopping);
    }
    await this.#close();
  }

  async #fill(): Promise<void> {
    const room = {
      total: UNDER_WAY_MAX - this.#total,
      perEndpoint: UNDER_WAY_PER_ENDPOINT_MAX,
      underWay: new Map([...this.#lanes].map(([webhookId, { underWay }]) => [webhookId, underWay])),
      leaseMs: this.#timings.leaseMs,
    };
    if (room.total <= 0) return;
    const claimed = await this.#context.database.run((sql) => claim(sql, room));
    for (const one of claimed) {
      const run = this.#deliver(one).finally(() => this.#running.delete(run));
      this.#running.add(run);
    }
  }

  async #deliver(claimed: Claimed): Promise<void> {
    const lane = this.#lanes.get(claimed.webhookId) ?? {
      underWay: 0,
      tried: [],
      isSettling: false,
    };
    this.#lanes.set(claimed.webhookId, lane);
    lane.underWay += 1;
    this.#total += 1;
    const stopTimer = this.#context.metrics.seconds.startTimer();
    const sent = await this.#sender.send(claimed, this.#cutOff.signal);
    stopTimer();
    if (this.#cutOff.signal.aborted && sent.outcome === 'failed') {
      this.#untried.push(claimed);
      return;
    }
    this.#context.metrics.attempts.inc({ outcome: sent.outcome });
    lane.tried.push({ claimed, sent });
    if (!lane.isSettling) await this.#settle(claimed.webhookId, lane);
  }

  /** A place is free only now: with PostgreSQL away, nothing more is sent than can be remembered. */
  async #settle(webhookId: string, lane: Lane): Promise<void> {
    lane.isSettling = true;
    while (lane.tried.length > 0) {
      const tried = lane.tried.splice(0);
      try {
        const settled = await this.#context.database.run((sql) =>
          settle(sql, webhookId, tried, this.#timings),
        );
        this.#report(webhookId, settled);
      } catch (error) {
        // Not remembered, so it will be sent again: at least once is what is promised.
        if (!(error instanceof StoppingError)) {
          this.#context.log.error(
            { webhookId, err: error },
            'webhook results could not be written',
          );
        }
      }
      lane.underWay -= tried.length;
      this.#total -= tried.length;
      this.#wake.abort();
    }
    lane.isSettling = false;
    if (lane.underWay === 0) this.#lanes.delete(webhookId);
  }

  #report(webhookId: string, { dead, change, error }: Settled): void {
    const { log, metrics } = this.#context;
    if (dead > 0) {
      metrics.dead.inc(dead);
      log.warn({ webhookId, dead, error }, 'webhook deliveries given up');
    }
    if (change === 'paused')
      log.warn({ webhookId, error }, 'webhook endpoint paused, it keeps failing');
    if (change === 'closed') log.info({ webhookId }, 'webhook endpoint works again');
    if (change === 'disabled') log.warn({ webhookId }, 'webhook endpoint disabled, it is gone');
  }

  async #close(): Promise<void> {
    await Promise.race([
      Promise.all(this.#running),
      pause(CLOSE_GRACE_MS, new AbortController().signal),
    ]);
    this.#cutOff.abort();
    await Promise.all(this.#running);
    this.#sender.close();
    if (this.#untried.length === 0) return;
    try {
      await this.#context.database.run((sql) => release(sql, this.#untried));
    } catch {
      // Then they are free again when their lease is over.
    }
  }
}
