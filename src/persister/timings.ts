/** How patient a persister is. Tests are in more of a hurry. */
import { WEBHOOK_TIMINGS, type WebhookTimings } from './webhooks/timings.ts';

export interface Timings {
  /** Entries that lie unacknowledged for so long are taken over; well over what a slow write takes. Taking one over
   * too early costs a second write of it, which changes nothing. */
  claimIdleMs: number;
  /** Consumers that did nothing for so long, and have nothing, are removed. */
  consumerIdleMs: number;
  /** The longest pause between two looks at a stream that was empty, while its sale can still sell. */
  idleMs: number;
  /** The same for drafts, and for sales that are over or closed. */
  restMs: number;
  /** PostgreSQL may be silent for so long before its connections are given up; a write takes tens of milliseconds. */
  silenceMs: number;
  webhooks: WebhookTimings;
}

export const TIMINGS: Timings = {
  claimIdleMs: 5_000,
  consumerIdleMs: 600_000,
  idleMs: 250,
  restMs: 5_000,
  silenceMs: 20_000,
  webhooks: WEBHOOK_TIMINGS,
};
