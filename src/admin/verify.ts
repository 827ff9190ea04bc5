/**
 * Whether the promises hold for a sale, found out over Redis and PostgreSQL, also while it is running.
 *
 * Redis is read at one moment; then PostgreSQL is waited for until it has come that far. A check that fails is run
 * again a few times before it counts: in a sale that moves, two servers read one after the other differ at times,
 * but a broken promise stays broken.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, unreachable } from '../domain/fault.ts';
import { readSale, type SaleState } from '../lua/read-sale.ts';
import type { Sql } from '../postgres/connection.ts';
import type { Servers } from './dependencies.ts';
import type { Check, CheckDefinition, Patience, Verification } from './verify-check.ts';
import { verifyContents } from './verify-contents.ts';
import { COUNT_CHECKS } from './verify-counts.ts';
import { LINE_CHECKS } from './verify-line.ts';
import { ROW_CHECKS } from './verify-rows.ts';

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
    const caughtUp = await waitForPersister(servers.sql, state, patience.catchUpMs);
    checks.push(caughtUp);
    // What PostgreSQL has not got yet is missing in every check; waiting again in each would find nothing else.
    const repeats = caughtUp.ok ? patience.repeats : 0;
    const readCheckpoint = () => checkpointEvent(servers.sql, saleId);
    const verification: Verification = { servers, saleId, state, readState, readCheckpoint };
    for (const definition of [...COUNT_CHECKS, ...ROW_CHECKS, ...LINE_CHECKS]) {
      checks.push(await runPatiently(definition, verification, { ...patience, repeats }));
    }
    checks.push(...(await verifyContents(verification, { ...patience, repeats })));
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
    // With the sale as it is now: what failed may have been a moment that is over.
    finding = await definition.find({ ...verification, state: await verification.readState() });
  }
  const { name, expected } = definition;
  return { name, ok: finding.ok, expected: finding.expected ?? expected, actual: finding.actual };
}

async function readKnownState(servers: Servers, saleId: string): Promise<SaleState> {
  const reply = await servers.shards.call(readSale, saleId, saleId);
  switch (reply.outcome) {
    case 'known':
      return reply.state;
    case 'recovering':
      throw new Fault('not_executed', 'the sale is being checked after a restart of Redis');
    case 'unknown_sale':
      throw new Fault('not_executed', 'Redis has never heard of the sale, or has forgotten it');
    default:
      return unreachable(reply);
  }
}

async function waitForPersister(sql: Sql, state: SaleState, timeoutMs: number): Promise<Check> {
  const deadlineMs = performance.now() + timeoutMs;
  const { saleId } = state.definition;
  let reached = await checkpointEvent(sql, saleId);
  while (reached < state.events && performance.now() < deadlineMs) {
    await sleep(POLL_MS);
    reached = await checkpointEvent(sql, saleId);
  }
  return {
    name: 'persister-has-caught-up',
    ok: reached >= state.events,
    expected: `PostgreSQL has come to event ${state.events} within ${timeoutMs / 1000} s`,
    actual: `it has come to event ${reached}`,
  };
}

async function checkpointEvent(sql: Sql, saleId: string): Promise<number> {
  const [row] = await sql<{ event: number }[]>`
    SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
  return row?.event ?? 0;
}
