/** Buyers and operators of a running stack, as tests of the whole need them. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';

const BUYERS_AT_ONCE = 20;

export interface Reserved {
  reservationId: string;
  buyerId: string;
  position: number;
  /** When the answer was there, by the clock of `performance.now()`. */
  atMs: number;
}

export interface Bought {
  /** How often each status was answered; with its code where it is a problem. */
  answers: Map<string, number>;
  reserved: Reserved[];
  slowestMs: number;
}

/** New buyers all the time, so many at once, each pressing once. */
export async function buyFor(
  durationMs: number,
  stack: StackDescription,
  saleId: string,
): Promise<Bought> {
  const sign = createSigner({ key: stack.jwtSecret, algorithm: 'HS256' });
  const pool = new Pool(stack.hotPathUrl, { connections: BUYERS_AT_ONCE });
  const bought: Bought = { answers: new Map(), reserved: [], slowestMs: 0 };
  const endsAt = performance.now() + durationMs;
  let buyers = 0;
  const oneAfterTheOther = async () => {
    while (performance.now() < endsAt) {
      const startedAt = performance.now();
      const { statusCode, body } = await pool.request({
        path: `/v1/sales/${saleId}/buy`,
        method: 'POST',
        headers: { authorization: `Bearer ${sign({ sub: `buyer-${++buyers}` })}` },
      });
      const answer = (await body.json()) as Omit<Reserved, 'atMs'> & { code?: string };
      const word = answer.code ? `${statusCode} ${answer.code}` : String(statusCode);
      bought.answers.set(word, (bought.answers.get(word) ?? 0) + 1);
      if (statusCode === 201) bought.reserved.push({ ...answer, atMs: performance.now() });
      bought.slowestMs = Math.max(bought.slowestMs, performance.now() - startedAt);
      // Enough to be busy all the time, not so much that the other tests starve.
      await sleep(5);
    }
  };
  await Promise.all(Array.from({ length: BUYERS_AT_ONCE }, oneAfterTheOther));
  await pool.close();
  return bought;
}

export async function operate(
  stack: StackDescription,
  path: string,
  body?: unknown,
): Promise<void> {
  const response = await fetch(stack.adminUrl + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${stack.adminToken}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: body === undefined ? null : JSON.stringify(body),
  });
  assert.ok(response.ok, `${path} answered ${response.status}: ${await response.text()}`);
}

export async function getAdmin(stack: StackDescription, path: string): Promise<{ ok: boolean }> {
  const response = await fetch(stack.adminUrl + path, {
    headers: { authorization: `Bearer ${stack.adminToken}` },
  });
  assert.equal(response.status, 200);
  return (await response.json()) as { ok: boolean };
}
