/**
 * Whether the promises hold for a sale, found out over Redis and PostgreSQL, also while it is running.
 *
 * Redis is read at one moment; then PostgreSQL is waited for until it has come that far. A check that fails is run
 * again a few times before it counts: in a sale that moves, two servers read one after the other differ at times,
 * but a broken promise stays broken.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, unreachable } from '../domain/fault.ts';
import { readSale, type SaleState } from '../lua/read/read-sale.ts';
import type { Sql } from '../postgres/connection.ts';
import type { Check, CheckDefinition, Patience, Servers, Verification } from './check.ts';
import { compareReservations } from './compare-reservations.ts';
import { COUNT_CHECKS } from './count-checks.ts';
import { ROW_CHECKS } from './row-checks.ts';
import { WAITLIST_CHECKS } from './waitlist-checks.ts';

export interface Report {
  ok: boolean;
  checks: Check[];
}

const PATIENCE: Patience = { catchUpMs: 10_000, repeats: 4, pauseMs: 500 };
const POLL_MS = 50;

/** Never rejects for what is wrong with the sale or with Redis: that is a failing check. */
export async function verifySale(
  servers: Servers,
  saleId: string,
  patience: Patience = PATIENCE,
): Promise<Report> {
  let known: Check = {
    name: 'redis-knows-the-sale',
    ok: true,
    expected: 'Redis knows the sale',
    actual: 'it does',
  };
  const checks: Check[] = [];
  try {
    const readState = () => readKnownState(servers, saleId);
    const state = await readState();
    const readCheckpoint = () => checkpointEvent(servers.sql, saleId);
    const verification: Verification = { servers, saleId, state, readState, readCheckpoint };
    const caughtUp = await waitForPersister(verification, patience.catchUpMs);
    checks.push(caughtUp);
    // What PostgreSQL has not got yet is missing in every check; waiting again in each would find nothing else.
    const repeats = caughtUp.ok ? patience.repeats : 0;
    for (const definition of [...COUNT_CHECKS, ...ROW_CHECKS, ...WAITLIST_CHECKS]) {
      checks.push(await runPatiently(definition, verification, { ...patience, repeats }));
    }
    checks.push(...(await compareReservations(verification, { ...patience, repeats })));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    known = { ...known, ok: false, actual: error.message };
  }
  const all = [known, ...checks];
  return { ok: all.every(({ ok }) => ok), checks: all };
}

async function runPatiently(
  definition: CheckDefinition,
  verification: Verification,
  patience: Patience,
): Promise<Check> {
  let finding = await definition.find(verification);
  for (let repeat = 0; !finding.ok && repeat < patience.repeats; repeat += 1) {
    await sleep(patience.pauseMs);
    // With the sale as it is now, once PostgreSQL has come as far: what failed may have been a moment that is over.
    const again = { ...verification, state: await verification.readState() };
    await waitForPersister(again, patience.catchUpMs);
    finding = await definition.find(again);
  }
  const { name, expected } = definition;
  return { name, ok: finding.ok, expected: finding.expected ?? expected, actual: finding.actual };
}

async function readKnownState(servers: Servers, saleId: string): Promise<SaleState> {
  const reply = await servers.shards.call(readSale, saleId);
  switch (reply.outcome) {
    case 'known':
      return reply.state;
    case 'recovering':
      throw new Fault(
        'not_executed',
        `the sale is being recovered${await whyClosed(servers.sql, saleId)}`,
      );
    case 'unknown_sale':
      throw new Fault(
        'not_executed',
        `Redis has never heard of the sale, or has forgotten it${await whyClosed(servers.sql, saleId)}`,
      );
    default:
      return unreachable(reply);
  }
}

/**
 * The checkpoint is the newest entry that PostgreSQL has; an older one may still be with a persister that died. What
 * has left the stream is there without gaps, so that is waited for, too.
 */
async function waitForPersister(verification: Verification, timeoutMs: number): Promise<Check> {
  const { events } = verification.state;
  const deadlineMs = performance.now() + timeoutMs;
  let reached = await verification.readCheckpoint();
  let { drained } = await verification.readState();
  while ((reached < events || drained < events) && performance.now() < deadlineMs) {
    await sleep(POLL_MS);
    reached = await verification.readCheckpoint();
    ({ drained } = await verification.readState());
  }
  const all = Math.min(reached, drained);
  return {
    name: 'persister-has-caught-up',
    ok: all >= events,
    expected: `PostgreSQL has come to event ${events} within ${timeoutMs / 1000} s`,
    actual: `it has come to event ${all}`,
  };
}

/** What an operator has to put right, where the last recovery could not open the sale. */
async function whyClosed(sql: Sql, saleId: string): Promise<string> {
  const [last] = await sql<{ outcome: string; why: string }[]>`
    SELECT outcome, report->>'why' AS why FROM sale_recoveries
    WHERE sale_id = ${saleId} AND state = 'done' ORDER BY recovery_id DESC LIMIT 1`;
  return last?.outcome === 'blocked' ? `; its recovery is blocked: ${last.why}` : '';
}

async function checkpointEvent(sql: Sql, saleId: string): Promise<number> {
  const [row] = await sql<{ event: number }[]>`
    SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
  return row?.event ?? 0;
}
