/**
 * The crowd: buyers who all press buy in the same moment, each once, each with a token of their own. A buyer who hears
 * nothing, or hears 503, presses again with the same Idempotency-Key, as a real client should.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import { backoffMs } from '../../process/backoff.ts';
import { Semaphore } from '../../process/semaphore.ts';
import { NO_RESPONSE, REPLAYED, RESERVED, Tally } from './tally.ts';

const CONNECTIONS = 500;
const ANSWER_TIMEOUT_MS = 10_000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 3_000;
/** Longer than any restart or recovery that the engine should need. */
const PATIENCE_MS = 60_000;
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

/** Resolves when every buyer has an answer or has run out of patience. */
export async function runCrowd(
  sale: Sale,
  count: number,
  onAnswer: () => void,
  stopping: AbortSignal,
): Promise<Tally> {
  const buyers = shuffled(crowdOf(sale, count));
  const pool = new Pool(sale.hotPathUrl, {
    connections: CONNECTIONS,
    headersTimeout: ANSWER_TIMEOUT_MS,
    bodyTimeout: ANSWER_TIMEOUT_MS,
  });
  const connections = new Semaphore(CONNECTIONS);
  const tally = new Tally();
  try {
    await Promise.all(
      buyers.map(async (buyer) => {
        await insist({ pool, connections, tally, saleId: sale.saleId }, buyer, stopping);
        onAnswer();
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

interface Market {
  pool: Pool;
  connections: Semaphore;
  tally: Tally;
  saleId: string;
}

async function insist(market: Market, buyer: Buyer, stopping: AbortSignal): Promise<void> {
  const { connections, tally } = market;
  const patienceEndsAt = performance.now() + PATIENCE_MS;
  for (let attempt = 0; ; attempt += 1) {
    // Latency counts from here: waiting for one of the connections is this process's queue, not the engine's.
    await connections.acquire();
    const sentAt = performance.now();
    const answer = await press(market, buyer).finally(() => connections.release());
    const latencyMs = performance.now() - sentAt;
    stopping.throwIfAborted();
    if (answer.settled) {
      tally.add(answer.kind, latencyMs);
      return;
    }
    const waitMs = Math.max(
      backoffMs(attempt, BACKOFF_FIRST_MS, BACKOFF_MAX_MS),
      answer.retryAfterMs,
    );
    if (performance.now() + waitMs > patienceEndsAt) {
      tally.add(NO_RESPONSE, latencyMs);
      return;
    }
    tally.retries += 1;
    await sleep(waitMs, undefined, { signal: stopping });
  }
}

type Answer = { settled: true; kind: string } | { settled: false; retryAfterMs: number };

async function press({ pool, saleId }: Market, buyer: Buyer): Promise<Answer> {
  try {
    const { statusCode, headers, body } = await pool.request({
      method: 'POST',
      path: `/v1/sales/${saleId}/buy`,
      headers: {
        authorization: buyer.authorization,
        // What a gateway would add, for BUYER_AUTH=header; without that it counts for nothing.
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
    // Broken or too late: whether it was decided is unknown, and the key makes asking again harmless.
    return { settled: false, retryAfterMs: 0 };
  }
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
