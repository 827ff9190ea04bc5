/**
 * Sends one request until its outcome is known, within limits.
 *
 *   2xx                             → done
 *   503, 502, 504, no response      → the same request again, with the same key
 *   429 rate_limited                → the same request again
 *   every other response            → refused
 *
 * 502 and 504 come from a proxy that lost its connection to the engine. When the limits are reached, the outcome is
 * `refused` if no attempt can have had an effect, and otherwise `unknown`.
 */
import type { OperationId, Problem, Result } from './operations.ts';
import { retryAfterMsOf, sleep, waitMsBefore } from './waiting.ts';

export interface RetryLimits {
  /** Attempts of one request, the first one included. */
  attemptsMax: number;
  /** From the first attempt to the result. */
  totalMsMax: number;
  /** An attempt without a response is given up after this. */
  responseMsMax: number;
}

export interface Retry {
  /** The number of attempts so far. */
  attempt: number;
  /** The time until the next one. */
  waitMs: number;
  /** Undefined: there was no response. */
  problem: Problem | undefined;
}

/** The limits are those of the client unless given. */
export interface CallOptions extends Partial<RetryLimits> {
  /** Ends the call at once: the promise rejects with its reason. Whether the request had its effect is then unknown. */
  signal?: AbortSignal | undefined;
  /** Called before each wait for another attempt. */
  onRetry?: ((retry: Retry) => void) | undefined;
}

export interface PreparedRequest {
  url: string;
  method: string;
  /** Called for each attempt, because a token may have expired meanwhile. */
  headers: () => Promise<Record<string, string>>;
  body: string | null;
}

type Attempt =
  | { kind: 'value'; value: unknown; isReplayed: boolean }
  | { kind: 'problem'; problem: Problem; retryAfterMs: number }
  | { kind: 'lost'; cause: unknown };

/** Problems that say nothing about the effect of an earlier attempt. */
const UNDECIDED = new Set(['unauthorized', 'forbidden', 'rate_limited', 'unrecognized']);
const RETRIED_STATUSES = new Set([502, 503, 504]);

export async function send<Id extends OperationId>(
  request: PreparedRequest,
  { signal, onRetry, ...limits }: CallOptions & RetryLimits,
): Promise<Result<Id>> {
  const deadline = performance.now() + limits.totalMsMax;
  let mayHaveEffect = false;
  let cause: unknown;
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    const responseMsMax = Math.min(limits.responseMsMax, deadline - performance.now());
    const result = await sendOnce(request, responseMsMax, signal);
    if (result.kind === 'value') {
      const { value, isReplayed } = result;
      return { outcome: 'done', value, isReplayed } as Result<Id>;
    }
    const { problem, retryAfterMs } =
      result.kind === 'problem' ? result : { problem: undefined, retryAfterMs: 0 };
    if (result.kind === 'lost') cause = result.cause;
    mayHaveEffect ||= mayHaveHadEffect(problem);
    const waitMs = waitMsBefore(attempt, retryAfterMs);
    const isLast = attempt >= limits.attemptsMax || performance.now() + waitMs >= deadline;
    if (!isRetried(problem) || isLast) {
      const isUnknown =
        !problem || (mayHaveEffect && (isRetried(problem) || UNDECIDED.has(problem.code)));
      return (
        isUnknown
          ? { outcome: 'unknown', problem, retryAfterMs, cause }
          : { outcome: 'refused', problem, retryAfterMs }
      ) as Result<Id>;
    }
    onRetry?.({ attempt, waitMs, problem });
    await sleep(waitMs, signal);
  }
}

/** Without a response nothing is known. `overloaded`, `recovering` and `rate_limited` mean that nothing was decided. */
function mayHaveHadEffect(problem: Problem | undefined): boolean {
  if (!problem) return true;
  return problem.status >= 500 && problem.code !== 'overloaded' && problem.code !== 'recovering';
}

function isRetried(problem: Problem | undefined): boolean {
  if (!problem) return true;
  return RETRIED_STATUSES.has(problem.status) || problem.code === 'rate_limited';
}

async function sendOnce(
  { url, method, headers, body }: PreparedRequest,
  responseMsMax: number,
  signal: AbortSignal | undefined,
): Promise<Attempt> {
  // A token that cannot be obtained is an error of the caller, not a lost request.
  const sent = await headers();
  const late = AbortSignal.timeout(Math.max(1, Math.ceil(responseMsMax)));
  try {
    const response = await fetch(url, {
      method,
      headers: sent,
      body,
      // The engine knows buyers by their token. Cookies would only be a risk.
      credentials: 'omit',
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    const text = await response.text();
    if (response.ok) {
      const isReplayed = response.headers.get('Idempotent-Replayed') === 'true';
      return { kind: 'value', value: JSON.parse(text), isReplayed };
    }
    const retryAfterMs = retryAfterMsOf(response.headers.get('Retry-After'));
    return { kind: 'problem', problem: problemOf(response.status, text), retryAfterMs };
  } catch (error) {
    signal?.throwIfAborted();
    return { kind: 'lost', cause: error };
  }
}

function problemOf(status: number, text: string): Problem {
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code === 'string' && problem.status === status) return problem;
  } catch {
    // Not from the engine: see below.
  }
  return {
    type: 'about:blank',
    title: `Status ${status}`,
    status,
    code: 'unrecognized',
    detail: 'The response does not come from the engine.',
  };
}
