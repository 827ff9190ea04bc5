/**
 * The client of the engine's API for merchants. It repeats every request until there is a response, within a time
 * limit. This is safe because the engine makes each transition once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';

export interface Reservation {
  reservationId: string;
  saleId: string;
  buyerId: string;
  status: 'reserved' | 'confirmed' | 'cancelled' | 'expired';
  total: number;
  currency: string;
  /** ISO 8601. */
  expiresAt: string;
}

/** `refused`: the reservation is in a state that does not allow the transition. */
export type TransitionResult =
  | { outcome: 'done'; reservation: Reservation }
  | { outcome: 'refused'; status: Reservation['status'] };

const CONNECTIONS = 16;
const RESPONSE_TIMEOUT_MS = 5_000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** Longer than any restart or recovery of the engine should take. */
const RETRY_MS_MAX = 120_000;

export class MerchantApi {
  readonly #pool: Pool;
  readonly #authorization: string;

  constructor(engineUrl: string, merchantToken: string) {
    this.#pool = new Pool(engineUrl, {
      connections: CONNECTIONS,
      headersTimeout: RESPONSE_TIMEOUT_MS,
      bodyTimeout: RESPONSE_TIMEOUT_MS,
    });
    this.#authorization = `Bearer ${merchantToken}`;
  }

  confirm(
    reservationId: string,
    paymentRef: string,
    stopping: AbortSignal,
  ): Promise<TransitionResult> {
    return this.#transition(reservationId, 'confirm', { paymentRef }, stopping);
  }

  cancel(reservationId: string, reason: string, stopping: AbortSignal): Promise<TransitionResult> {
    return this.#transition(reservationId, 'cancel', { reason }, stopping);
  }

  extend(reservationId: string, stopping: AbortSignal): Promise<TransitionResult> {
    return this.#transition(reservationId, 'extend', {}, stopping);
  }

  /** Undefined: there is none with this id. */
  async reservation(
    reservationId: string,
    stopping: AbortSignal,
  ): Promise<Reservation | undefined> {
    const path = `/reservations/${encodeURIComponent(reservationId)}`;
    const { status, body } = await this.#request('GET', path, undefined, stopping);
    if (status === 404) return undefined;
    if (status !== 200) throw new Error(`reading ${reservationId} got status ${status}`);
    return body as Reservation;
  }

  /** Reservations without a payment, of one sale or of all. */
  async *reserved(saleId: string | undefined, stopping: AbortSignal): AsyncGenerator<Reservation> {
    const query = new URLSearchParams({ status: 'reserved', limit: '500' });
    if (saleId !== undefined) query.set('saleId', saleId);
    for (;;) {
      const { status, body } = await this.#request(
        'GET',
        `/reservations?${query.toString()}`,
        undefined,
        stopping,
      );
      if (status !== 200) throw new Error(`listing reservations got status ${status}`);
      const page = body as { data: Reservation[]; nextCursor: string | null };
      yield* page.data;
      if (page.nextCursor === null) return;
      query.set('cursor', page.nextCursor);
    }
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  async #transition(
    reservationId: string,
    transition: string,
    content: object,
    stopping: AbortSignal,
  ): Promise<TransitionResult> {
    const path = `/reservations/${encodeURIComponent(reservationId)}/${transition}`;
    const { status, body } = await this.#request('POST', path, content, stopping);
    if (status === 200) return { outcome: 'done', reservation: body as Reservation };
    const problem = body as { code?: string; from?: Reservation['status'] };
    if (problem.code === 'invalid_transition' && problem.from) {
      return { outcome: 'refused', status: problem.from };
    }
    throw new Error(`${transition} of ${reservationId}: ${status} ${problem.code}`);
  }

  async #request(
    method: 'GET' | 'POST',
    path: string,
    body: object | undefined,
    stopping: AbortSignal,
  ): Promise<{ status: number; body: unknown }> {
    const deadlineMs = Date.now() + RETRY_MS_MAX;
    for (let attempt = 1; ; attempt += 1) {
      const response = await this.#send(method, path, body, stopping);
      if (response.status !== undefined) return { status: response.status, body: response.body };
      const waitMs = Math.max(backoffMs(attempt), response.retryAfterMs);
      if (Date.now() + waitMs > deadlineMs)
        throw new Error(`${path}: no response within ${RETRY_MS_MAX / 1_000} s`);
      await sleep(waitMs, undefined, { signal: stopping });
    }
  }

  /** Without a status: there was no response, or one that asks for a repetition. */
  async #send(
    method: 'GET' | 'POST',
    path: string,
    content: object | undefined,
    stopping: AbortSignal,
  ): Promise<{ status?: number; body?: unknown; retryAfterMs: number }> {
    try {
      const { statusCode, headers, body } = await this.#pool.request({
        method,
        path: `/admin/v1${path}`,
        headers: {
          authorization: this.#authorization,
          ...(content ? { 'content-type': 'application/json' } : {}),
        },
        body: content ? JSON.stringify(content) : null,
        signal: stopping,
      });
      const text = await body.text();
      if (statusCode >= 500 || statusCode === 429) {
        return { retryAfterMs: Number(headers['retry-after'] ?? 0) * 1_000 };
      }
      return { status: statusCode, body: JSON.parse(text), retryAfterMs: 0 };
    } catch (error) {
      if (stopping.aborted) throw error;
      return { retryAfterMs: 0 };
    }
  }
}

/** With jitter, so that clients that failed together do not retry together. */
function backoffMs(attempt: number): number {
  const bound = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (attempt - 1));
  return bound * (0.5 + Math.random() / 2);
}
