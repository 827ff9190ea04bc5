/**
 * The crowd: every buyer sends one purchase at the same moment, with their own token. Without a response, or after a 503,
 * a buyer retries with the same Idempotency-Key, as a real client should.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import { backoffMs } from '../../process/backoff.ts';
import { Semaphore } from '../../process/semaphore.ts';
import { NO_RESPONSE, REPLAYED, RESERVED, SOLD_OUT, Tally } from './tally.ts';

const CONNECTIONS = 500;
const RESPONSE_TIMEOUT_MS = 10_000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 3_000;
/** Longer than a restart or a recovery of the engine should take. */
const RETRY_MS_MAX = 60_000;
const TOKEN_LIFETIME_MS = 3_600_000;

export interface Sale {
  hotPathUrl: string;
  jwtSecret: string;
  saleId: string;
}

interface Buyer {
  buyerId: string;
  authorization: string;
  idempotencyKey: string;
}

export interface Pace {
  /** Buyers come one after the other instead of all at once. */
  perSecond: number;
  /** The share of buyers who join the waitlist after `sold_out`, 0 to 1. */
  waitlisted: number;
}

/** Resolves when every buyer has a response or has given up. */
export async function runCrowd(
  sale: Sale,
  count: number,
  onSettled: () => void,
  stopping: AbortSignal,
  pace?: Pace,
): Promise<Tally> {
  const buyers = shuffled(crowdOf(sale, count));
  const pool = new Pool(sale.hotPathUrl, {
    connections: CONNECTIONS,
    headersTimeout: RESPONSE_TIMEOUT_MS,
    bodyTimeout: RESPONSE_TIMEOUT_MS,
  });
  const connections = new Semaphore(CONNECTIONS);
  const tally = new Tally();
  try {
    await Promise.all(
      buyers.map(async (buyer, index) => {
        const context = { pool, connections, tally, saleId: sale.saleId };
        if (pace) await sleep((index / pace.perSecond) * 1_000, undefined, { signal: stopping });
        const kind = await buyWithRetries(context, buyer, stopping);
        if (pace && kind === SOLD_OUT && Math.random() < pace.waitlisted) {
          await joinWaitlist(context, buyer).catch(() => undefined);
        }
        onSettled();
      }),
    );
  } finally {
    await pool.destroy();
  }
  return tally;
}

function crowdOf({ jwtSecret, saleId }: Sale, count: number): Buyer[] {
  const sign = createSigner({ algorithm: 'HS256', key: jwtSecret, expiresIn: TOKEN_LIFETIME_MS });
  return Array.from({ length: count }, (_, index) => ({
    buyerId: `buyer-${index + 1}`,
    authorization: `Bearer ${sign({ sub: `buyer-${index + 1}` })}`,
    idempotencyKey: `${saleId}-${index + 1}`,
  }));
}

/** Fisher–Yates. */
function shuffled<T>(items: T[]): T[] {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = randomInt(last + 1);
    [items[last], items[other]] = [items[other]!, items[last]!];
  }
  return items;
}

interface PurchaseContext {
  pool: Pool;
  connections: Semaphore;
  tally: Tally;
  saleId: string;
}

/** Returns what the tally counts. */
async function buyWithRetries(
  context: PurchaseContext,
  buyer: Buyer,
  stopping: AbortSignal,
): Promise<string> {
  const { connections, tally } = context;
  const giveUpAt = performance.now() + RETRY_MS_MAX;
  for (let attempt = 0; ; attempt += 1) {
    // Latency excludes the wait for a connection, which is a queue of this process and not of the engine.
    await connections.acquire();
    const sentAt = performance.now();
    const outcome = await sendPurchase(context, buyer).finally(() => connections.release());
    const latencyMs = performance.now() - sentAt;
    stopping.throwIfAborted();
    if (outcome.settled) {
      tally.add(outcome.kind, latencyMs);
      return outcome.kind;
    }
    const waitMs = Math.max(
      backoffMs(attempt, BACKOFF_FIRST_MS, BACKOFF_MAX_MS),
      outcome.retryAfterMs,
    );
    if (performance.now() + waitMs > giveUpAt) {
      tally.add(NO_RESPONSE, latencyMs);
      return NO_RESPONSE;
    }
    tally.retries += 1;
    await sleep(waitMs, undefined, { signal: stopping });
  }
}

type Outcome = { settled: true; kind: string } | { settled: false; retryAfterMs: number };

async function sendPurchase({ pool, saleId }: PurchaseContext, buyer: Buyer): Promise<Outcome> {
  try {
    const { statusCode, headers, body } = await pool.request({
      method: 'POST',
      path: `/v1/sales/${saleId}/buy`,
      headers: {
        authorization: buyer.authorization,
        // Read with BUYER_AUTH=header only, where a gateway would add it.
        'x-buyer-id': buyer.buyerId,
        'idempotency-key': buyer.idempotencyKey,
      },
    });
    const text = await body.text();
    if (statusCode === 503) {
      return { settled: false, retryAfterMs: Number(headers['retry-after'] ?? 0) * 1_000 };
    }
    return { settled: true, kind: kindOf(statusCode, text) };
  } catch {
    // The outcome is unknown, and the key makes a retry safe.
    return { settled: false, retryAfterMs: 0 };
  }
}

/** Refused if units have come back meanwhile; this buyer then goes without. */
async function joinWaitlist({ pool, saleId }: PurchaseContext, buyer: Buyer): Promise<void> {
  const { body } = await pool.request({
    method: 'POST',
    path: `/v1/sales/${saleId}/waitlist`,
    headers: { authorization: buyer.authorization, 'x-buyer-id': buyer.buyerId },
  });
  await body.dump();
}

function kindOf(status: number, body: string): string {
  if (status === 201) return RESERVED;
  if (status === 200) return REPLAYED;
  return `${status} ${codeOf(body)}`;
}

function codeOf(body: string): string {
  try {
    return (JSON.parse(body) as { code?: string }).code ?? 'without a code';
  } catch {
    return 'without a problem document';
  }
}
