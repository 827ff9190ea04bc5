/** Requests of buyers and operators to a running stack. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';

const BUYERS_AT_ONCE = 20;

interface Reserved {
  reservationId: string;
  buyerId: string;
  position: number;
  /** When the response arrived, by the clock of `performance.now()`. */
  atMs: number;
}

export interface Bought {
  /** The number of responses by status, with the code of a problem. */
  responses: Map<string, number>;
  reserved: Reserved[];
  slowestMs: number;
}

/** Sends requests of new buyers, `BUYERS_AT_ONCE` at a time, one request each. */
export async function buyFor(
  durationMs: number,
  stack: StackDescription,
  saleId: string,
): Promise<Bought> {
  const sign = createSigner({ key: stack.jwtSecret, algorithm: 'HS256' });
  const pool = new Pool(stack.hotPathUrl, { connections: BUYERS_AT_ONCE });
  const bought: Bought = { responses: new Map(), reserved: [], slowestMs: 0 };
  const endsAt = performance.now() + durationMs;
  let buyers = 0;
  const buyOneByOne = async () => {
    while (performance.now() < endsAt) {
      const startedAt = performance.now();
      const { statusCode, body } = await pool.request({
        path: `/v1/sales/${saleId}/buy`,
        method: 'POST',
        headers: { authorization: `Bearer ${sign({ sub: `buyer-${++buyers}` })}` },
      });
      const reservation = (await body.json()) as Omit<Reserved, 'atMs'> & { code?: string };
      const name = reservation.code ? `${statusCode} ${reservation.code}` : String(statusCode);
      bought.responses.set(name, (bought.responses.get(name) ?? 0) + 1);
      if (statusCode === 201) bought.reserved.push({ ...reservation, atMs: performance.now() });
      bought.slowestMs = Math.max(bought.slowestMs, performance.now() - startedAt);
      // Busy all the time, but leaves CPU time to the other tests.
      await sleep(5);
    }
  };
  await Promise.all(Array.from({ length: BUYERS_AT_ONCE }, buyOneByOne));
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
  assert.ok(response.ok, `${path}: ${response.status} ${await response.text()}`);
}

export async function getAdmin(stack: StackDescription, path: string): Promise<{ ok: boolean }> {
  const response = await fetch(stack.adminUrl + path, {
    headers: { authorization: `Bearer ${stack.adminToken}` },
  });
  assert.equal(response.status, 200);
  return (await response.json()) as { ok: boolean };
}
