/**
 * The engine as a merchant sees it. Every call is asked again, for a while, until there is an answer: the engine does
 * each move once, so a reply that got lost costs nothing but time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';

export interface Reservation {
  reservationId: string;
  saleId: string;
  status: 'reserved' | 'confirmed' | 'cancelled' | 'expired';
  total: number;
  currency: string;
  /** ISO 8601. */
  expiresAt: string;
}

/** `refused`: it can no longer be done, because the reservation is in this state. */
export type MoveAnswer =
  | { outcome: 'done'; reservation: Reservation }
  | { outcome: 'refused'; status: Reservation['status'] };

const CONNECTIONS = 16;
const ANSWER_TIMEOUT_MS = 5_000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** Longer than any restart or recovery that the engine should need. */
const PATIENCE_MS = 120_000;

export class MerchantApi {
  readonly #pool: Pool;
  readonly #authorization: string;

  constructor(engineUrl: string, merchantToken: string) {
    this.#pool = new Pool(engineUrl, {
      connections: CONNECTIONS,
      headersTimeout: ANSWER_TIMEOUT_MS,
      bodyTimeout: ANSWER_TIMEOUT_MS,
    });
    this.#authorization = `Bearer ${merchantToken}`;
  }

  confirm(reservationId: string, paymentRef: string, stopping: AbortSignal): Promise<MoveAnswer> {
    return this.#move(reservationId, 'confirm', { paymentRef }, stopping);
  }

  cancel(reservationId: string, reason: string, stopping: AbortSignal): Promise<MoveAnswer> {
    return this.#move(reservationId, 'cancel', { reason }, stopping);
  }

  extend(reservationId: string, stopping: AbortSignal): Promise<MoveAnswer> {
    return this.#move(reservationId, 'extend', {}, stopping);
  }

  /** What still waits for a payment, of one sale or of all. */
  async *reserved(saleId: string | undefined, stopping: AbortSignal): AsyncGenerator<Reservation> {
    const query = new URLSearchParams({ status: 'reserved', limit: '500' });
    if (saleId !== undefined) query.set('saleId', saleId);
    for (;;) {
      const { status, body } = await this.#ask(
        'GET',
        `/reservations?${query.toString()}`,
        undefined,
        stopping,
      );
      if (status !== 200) throw new Error(`listing was answered with ${status}`);
      const page = body as { data: Reservation[]; nextCursor: string | null };
      yield* page.data;
      if (page.nextCursor === null) return;
      query.set('cursor', page.nextCursor);
    }
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  async #move(
    reservationId: string,
    move: string,
    asked: object,
    stopping: AbortSignal,
  ): Promise<MoveAnswer> {
    const path = `/reservations/${encodeURIComponent(reservationId)}/${move}`;
    const { status, body } = await this.#ask('POST', path, asked, stopping);
    if (status === 200) return { outcome: 'done', reservation: body as Reservation };
    const problem = body as { code?: string; from?: Reservation['status'] };
    if (problem.code === 'invalid_transition' && problem.from) {
      return { outcome: 'refused', status: problem.from };
    }
    throw new Error(`${move} of ${reservationId}: ${status} ${problem.code}`);
  }

  async #ask(
    method: 'GET' | 'POST',
    path: string,
    body: object | undefined,
    stopping: AbortSignal,
  ): Promise<{ status: number; body: unknown }> {
    const patienceEndsAt = Date.now() + PATIENCE_MS;
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#askOnce(method, path, body, stopping);
      if (answer.status !== undefined) return { status: answer.status, body: answer.body };
      const waitMs = Math.max(backoffMs(attempt), answer.retryAfterMs);
      if (Date.now() + waitMs > patienceEndsAt) throw new Error(`${path}: no answer to be had`);
      await sleep(waitMs, undefined, { signal: stopping });
    }
  }

  /** Without a status: no answer, or one that says to ask again. */
  async #askOnce(
    method: 'GET' | 'POST',
    path: string,
    asked: object | undefined,
    stopping: AbortSignal,
  ): Promise<{ status?: number; body?: unknown; retryAfterMs: number }> {
    try {
      const { statusCode, headers, body } = await this.#pool.request({
        method,
        path: `/admin/v1${path}`,
        headers: {
          authorization: this.#authorization,
          ...(asked ? { 'content-type': 'application/json' } : {}),
        },
        body: asked ? JSON.stringify(asked) : null,
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

/** Jittered: what failed together must not come back together. */
function backoffMs(attempt: number): number {
  const bound = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (attempt - 1));
  return bound * (0.5 + Math.random() / 2);
}
