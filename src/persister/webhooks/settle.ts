/**
 * Stores the results of attempts for one endpoint and its new breaker state in one transaction. It locks the endpoint's
 * row, so that failures seen by several processes are counted in sequence. The circuit breaker of an endpoint:
 *
 *   closed ──`FAILURES_MAX` failures in a row──▶ paused ──pause over──▶ one delivery is the probe
 *     ▲                                            ▲                              │
 *     │                                            └───────fails: a longer pause──┤
 *     └────────────────────────────────────────────────────────────────succeeds───┘
 */
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import { backoffMs } from '../../process/backoff.ts';
import type { WebhookTimings } from '../timings.ts';
import type { Claimed } from './claim.ts';
import type { Sent } from './send.ts';

export const FAILURES_MAX = 5;

interface Breaker {
  isPaused: boolean;
  failuresInRow: number;
  pausesInRow: number;
  /** The length of a new pause that starts now. Undefined: an existing pause continues. */
  pauseMs?: number;
}

const CLOSED: Breaker = { isPaused: false, failuresInRow: 0, pausesInRow: 0 };

export interface Attempt {
  claimed: Claimed;
  sent: Sent;
}

/** How the endpoint changed, for the log. */
export interface Settled {
  dead: number;
  change: 'none' | 'paused' | 'closed' | 'disabled';
  error: string | null;
}

/** The attempts are in the order in which they ended. Throws PostgreSQL's errors. */
export async function settle(
  sql: Sql,
  webhookId: string,
  attempts: readonly Attempt[],
  timings: WebhookTimings,
): Promise<Settled> {
  return inTransaction<Settled>(sql, async (transaction) => {
    const [before] = await transaction<(Breaker & { status: string })[]>`
      SELECT failures_in_row, pauses_in_row, paused_until IS NOT NULL AS is_paused, status FROM webhook_endpoints
      WHERE webhook_id = ${webhookId} FOR NO KEY UPDATE`;
    // The endpoint was deleted; its deliveries are too, or will be soon.
    if (!before) return { dead: 0, change: 'none', error: null };
    let after: Breaker = before;
    for (const { claimed, sent } of attempts) {
      after = sent.outcome === 'delivered' ? CLOSED : afterFailure(after, claimed.isProbe, timings);
    }
    const isGone =
      before.status === 'active' && attempts.some(({ sent }) => sent.outcome === 'gone');
    const isBack = before.isPaused && !after.isPaused;
    const dead = await writeDeliveries(transaction, webhookId, attempts, timings);
    const error = attempts.findLast(({ sent }) => sent.error !== null)?.sent.error ?? null;
    const hasSuccess = attempts.some(({ sent }) => sent.outcome === 'delivered');
    const pauseMs = after.pauseMs === undefined ? null : String(Math.round(after.pauseMs));
    await transaction`
      UPDATE webhook_endpoints
      SET failures_in_row = ${after.failuresInRow}, pauses_in_row = ${after.pausesInRow},
        paused_until = CASE WHEN ${after.isPaused}
          THEN coalesce(now() + ${pauseMs}::text::bigint * interval '1 ms', paused_until) END,
        status = CASE WHEN ${isGone} THEN 'disabled' ELSE status END,
        last_error = coalesce(${error}::text, last_error),
        last_failure_at = CASE WHEN ${error !== null} THEN now() ELSE last_failure_at END,
        last_success_at = CASE WHEN ${hasSuccess} THEN now() ELSE last_success_at END
      WHERE webhook_id = ${webhookId}`;
    if (isBack) {
      // Late retries become due now. Attempts in flight are due within a lease anyway.
      await transaction`
        UPDATE webhook_deliveries SET due_at = now()
        WHERE webhook_id = ${webhookId} AND state = 'pending'
          AND due_at > now() + ${timings.leaseMs}::integer * interval '1 ms'`;
    }
    if (isGone) return { dead, change: 'disabled', error };
    if (isBack) return { dead, change: 'closed', error };
    return { dead, change: !before.isPaused && after.isPaused ? 'paused' : 'none', error };
  });
}

/** A failure of an attempt that was in flight when the pause began changes nothing; only a success does. */
function afterFailure(breaker: Breaker, isProbe: boolean, timings: WebhookTimings): Breaker {
  const failed = { ...breaker, failuresInRow: breaker.failuresInRow + 1 };
  const begins = breaker.isPaused ? isProbe : failed.failuresInRow >= FAILURES_MAX;
  if (!begins) return failed;
  const pauseMs = backoffMs(breaker.pausesInRow, timings.pauseFirstMs, timings.pauseMostMs);
  return { ...failed, isPaused: true, pausesInRow: breaker.pausesInRow + 1, pauseMs };
}

/** Returns how many became dead. A success counts even if another process has made the delivery dead since. */
async function writeDeliveries(
  transaction: Transaction,
  webhookId: string,
  attempts: readonly Attempt[],
  { retryFirstMs, retryMostMs }: WebhookTimings,
): Promise<number> {
  const delays = attempts.map(({ claimed }) =>
    String(Math.round(backoffMs(claimed.attempts, retryFirstMs, retryMostMs))),
  );
  const rows = await transaction<{ state: string }[]>`
    UPDATE webhook_deliveries AS d
    SET attempts = d.attempts + 1, last_status = tried.status, last_error = tried.error,
      due_at = now() + tried.delay_ms * interval '1 ms',
      state = next.state,
      finished_at = CASE WHEN next.state <> 'pending' THEN now() END
    FROM unnest(
      ${attempts.map(({ claimed }) => String(claimed.deliveryId))}::text[]::bigint[],
      ${attempts.map(({ sent }) => sent.outcome)}::text[],
      ${delays}::text[]::bigint[],
      ${attempts.map(({ sent }) => sent.status && String(sent.status))}::text[]::integer[],
      ${attempts.map(({ sent }) => sent.error)}::text[]) AS tried(delivery_id, outcome, delay_ms, status, error)
    JOIN LATERAL (
      SELECT CASE WHEN outcome = 'delivered' THEN 'delivered'
        WHEN outcome = 'gone' OR give_up_at <= now() THEN 'dead' ELSE 'pending' END AS state
      FROM webhook_deliveries WHERE webhook_id = ${webhookId} AND delivery_id = tried.delivery_id
    ) AS next ON true
    WHERE d.webhook_id = ${webhookId} AND d.delivery_id = tried.delivery_id
      AND (d.state = 'pending' OR (d.state = 'dead' AND outcome = 'delivered'))
    RETURNING d.state`;
  return rows.filter(({ state }) => state === 'dead').length;
}
