/** How patient deliveries are. Tests are in more of a hurry. */

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;

export interface WebhookTimings {
  /** For one try in all: name, connection, TLS, request, answer. */
  timeoutMs: number;
  /** Whoever takes a delivery has it for so long; well over a try. Then it is anybody's again. */
  leaseMs: number;
  /** The pause after a failed try, doubling from the first to the most. When to give up is the delivery's `give_up_at`. */
  retryFirstMs: number;
  retryMostMs: number;
  /** The pause of an endpoint that fails again and again, doubling likewise. */
  pauseFirstMs: number;
  pauseMostMs: number;
  /** Between two looks for what is due. */
  pollMs: number;
  /** Between two looks at what each sale is to announce. */
  announceMs: number;
  /** Between two rounds of giving up and tidying up. */
  upkeepMs: number;
}

export const WEBHOOK_TIMINGS: WebhookTimings = {
  timeoutMs: 10 * SECOND_MS,
  leaseMs: 20 * SECOND_MS,
  retryFirstMs: 5 * SECOND_MS,
  retryMostMs: 4 * HOUR_MS,
  pauseFirstMs: 30 * SECOND_MS,
  pauseMostMs: HOUR_MS,
  pollMs: 500,
  announceMs: SECOND_MS,
  upkeepMs: 60 * SECOND_MS,
};
