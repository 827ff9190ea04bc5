/** Waits, for a limited time, until PostgreSQL has events or the outcomes of sale operations, or until a sweep is over. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../postgres/connection.ts';
import type { Verification } from './check.ts';

const POLL_MS = 20;

export function waitsFor(
  sql: Sql,
  saleId: string,
  timeoutMs: number,
): Pick<Verification, 'readCheckpoint' | 'waitForEvent' | 'waitForOperation' | 'waitForSweep'> {
  const readCheckpoint = () => checkpointEvent(sql, saleId);
  let sweepTimeoutMs = timeoutMs;
  return {
    readCheckpoint,
    waitForEvent: (event) =>
      waitUntil(timeoutMs, async () => {
        const reached = await readCheckpoint();
        const why = `PostgreSQL has the events up to ${reached}, and Redis those up to ${event}`;
        return reached >= event ? undefined : why;
      }),
    waitForOperation: (operation) =>
      waitUntil(timeoutMs, async () => {
        const pending = await firstPending(sql, saleId, operation);
        const why = `operation ${pending} is pending in PostgreSQL, and Redis has ${operation}`;
        return pending === undefined ? undefined : why;
      }),
    waitForSweep: async (findObstacle) => {
      const obstacle = await waitUntil(sweepTimeoutMs, findObstacle);
      // Several checks wait for the same sweep, and each is repeated.
      if (obstacle !== undefined) sweepTimeoutMs = 0;
      return obstacle;
    },
  };
}

/** Returns undefined once the condition holds, or why it did not hold in time. */
async function waitUntil(
  timeoutMs: number,
  findObstacle: () => Promise<string | undefined>,
): Promise<string | undefined> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const obstacle = await findObstacle();
    if (obstacle === undefined || performance.now() >= deadlineMs) return obstacle;
    await sleep(POLL_MS);
  }
}

async function checkpointEvent(sql: Sql, saleId: string): Promise<number> {
  const [row] = await sql<{ event: number }[]>`
    SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
  return row?.event ?? 0;
}

async function firstPending(sql: Sql, saleId: string, upTo: number): Promise<number | undefined> {
  const [row] = await sql<{ operation: number }[]>`
    SELECT operation FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'pending' AND operation <= ${upTo} ORDER BY operation LIMIT 1`;
  return row?.operation;
}
