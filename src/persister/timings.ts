/** Intervals and timeouts of a persister. Tests use shorter ones. */
export interface Timings {
  /** Pending entries this old are taken over. Well over a slow write; too early only repeats a write, harmlessly. */
  claimIdleMs: number;
  /** Consumers idle for this long, without pending entries, are removed. */
  consumerIdleMs: number;
  /** The longest pause between two reads of a stream whose entries are not all drained. */
  idleMs: number;
  /** Between two attempts to recover a sale that is blocked. */
  restMs: number;
  /** The longest time between two sweeps of a sale that can sell, in case hints were lost; longer with hundreds of them. */
  lookMs: number;
  /** The same for a sale in which nothing can happen by itself: a draft, or an ended sale without holds. */
  restLookMs: number;
  /** The longest time until events of an idle sale are noticed whose hint was lost. */
  backlogLookMs: number;
  /** An attempt with no result for this long gives up PostgreSQL's connections. A write takes tens of milliseconds. */
  silenceMs: number;
  archive: {
    /** Between two looks for sales that are due. */
    intervalMs: number;
    /** Until the next attempt for a sale that could not be archived. */
    retryMs: number;
  };
  webhooks: WebhookTimings;
}

export interface WebhookTimings {
  /** For one attempt: DNS, connection, TLS, request and response. */
  timeoutMs: number;
  /** How long a claimed delivery belongs to its claimer. Well over an attempt. */
  leaseMs: number;
  /** Backoff after a failed attempt. The delivery's `give_up_at` ends the attempts. */
  retryFirstMs: number;
  retryMostMs: number;
  /** Backoff of an endpoint that keeps failing. */
  pauseFirstMs: number;
  pauseMostMs: number;
  /** Between two claims of due deliveries. */
  pollMs: number;
  /** Between two checks of what sales have to announce. */
  announceMs: number;
  upkeepMs: number;
}

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;

export const TIMINGS: Timings = {
  claimIdleMs: 5 * SECOND_MS,
  consumerIdleMs: 600 * SECOND_MS,
  idleMs: 250,
  restMs: 5 * SECOND_MS,
  lookMs: 10 * SECOND_MS,
  restLookMs: 300 * SECOND_MS,
  backlogLookMs: 10 * SECOND_MS,
  silenceMs: 20 * SECOND_MS,
  archive: { intervalMs: 60 * SECOND_MS, retryMs: 600 * SECOND_MS },
  webhooks: {
    timeoutMs: 10 * SECOND_MS,
    leaseMs: 20 * SECOND_MS,
    retryFirstMs: 5 * SECOND_MS,
    retryMostMs: 4 * HOUR_MS,
    pauseFirstMs: 30 * SECOND_MS,
    pauseMostMs: HOUR_MS,
    pollMs: 500,
    announceMs: SECOND_MS,
    upkeepMs: 60 * SECOND_MS,
  },
};
