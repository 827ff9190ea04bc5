/**
 * Verifies the guarantees of a sale over Redis and PostgreSQL, at rest or while it is running. The servers are never read
 * at the same moment. Therefore each check reads Redis at one moment, waits until PostgreSQL has the events of that
 * moment, and compares only what cannot have changed since. A check that could not look at everything fails and says so.
 * catalogue.ts lists the checks.
 *
 * For an archived sale, it checks PostgreSQL only, see archived-checks.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, unreachable } from '../domain/fault.ts';
import { ordinalOf } from '../domain/positions.ts';
import { readSale, type SaleState } from '../lua/read/read-sale.ts';
import type { Sql } from '../postgres/connection.ts';
import { isArchived, verifyArchived } from './archived-checks.ts';
import type {
  Check,
  CheckDefinition,
  Progress,
  RetryPolicy,
  Servers,
  Verification,
} from './check.ts';
import { compareOrder, SeenOrdinals } from './compare-order.ts';
import { RecordComparison } from './compare-records.ts';
import { COUNT_CHECKS } from './count-checks.ts';
import { HISTORY_CHECKS } from './history-checks.ts';
import { OPERATION_CHECKS } from './operation-checks.ts';
import { PROGRESS_CHECKS } from './progress-checks.ts';
import { ROW_CHECKS } from './row-checks.ts';
import { WAITLIST_CHECKS } from './waitlist-checks.ts';
import { waitsFor } from './waits.ts';

export interface Report {
  ok: boolean;
  checks: Check[];
}

const RETRY_POLICY: RetryPolicy = { catchUpMs: 10_000, repeats: 4, pauseMs: 500 };
const CHECKS: readonly CheckDefinition[] = [
  ...COUNT_CHECKS,
  ...OPERATION_CHECKS,
  ...PROGRESS_CHECKS,
  ...ROW_CHECKS,
  ...HISTORY_CHECKS,
  ...WAITLIST_CHECKS,
];
const POLL_MS = 50;
/** How often a verification begins again because the sale was recovered or moved, or a connection was lost, meanwhile. */
const BEGINNINGS_MAX = 3;

/** A violation, or a failure of Redis, is a failing check and not a rejection. */
export async function verifySale(
  servers: Servers,
  saleId: string,
  policy: RetryPolicy = RETRY_POLICY,
  onProgress: (progress: Progress) => void = () => undefined,
): Promise<Report> {
  if (await isArchived(servers.sql, saleId)) {
    const archived = await verifyArchived(servers, saleId);
    return { ok: archived.every(({ ok }) => ok), checks: archived };
  }
  const known = {
    name: 'redis-knows-the-sale',
    expected: 'Redis has the sale, and keeps it',
  } as const;
  for (let beginnings = 1; ; beginnings += 1) {
    const isLast = beginnings === BEGINNINGS_MAX;
    const checks: Check[] = [];
    try {
      const { timeline } = await readKnownState(servers, saleId);
      checks.push(...(await runAll(servers, saleId, policy, onProgress)));
      const isSame = (await readKnownState(servers, saleId)).timeline === timeline;
      // A rebuilt sale can have less than before, which the checks would take for a violation.
      if (!isSame && !isLast) continue;
      const actual = isSame
        ? 'it has'
        : `not compared: the sale was recovered ${beginnings} times meanwhile`;
      checks.unshift({ ...known, ok: isSame, actual });
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (isOfServer(error) && !isLast) {
        await sleep(policy.pauseMs);
        continue;
      }
      checks.unshift({ ...known, ok: false, actual: error.message });
    }
    return { ok: checks.every(({ ok }) => ok), checks };
  }
}

/**
 * Whether the server failed, and not a check: the command was not sent, its reply was lost, or the server is not the master
 * any more. Each command only reads, so it may run again.
 */
function isOfServer({ code, cause }: Fault): boolean {
  return code === 'not_sent' || code === 'outcome_unknown' || (code === 'not_executed' && !!cause);
}

async function runAll(
  servers: Servers,
  saleId: string,
  policy: RetryPolicy,
  onProgress: (progress: Progress) => void,
): Promise<Check[]> {
  const checks: Check[] = [];
  onProgress({ part: 'catching up', done: 0, of: 0 });
  const readState = () => readKnownState(servers, saleId);
  const state = await readState();
  const verification: Verification = {
    servers,
    saleId,
    state,
    readState,
    ...waitsFor(servers.sql, saleId, policy.catchUpMs),
  };
  const caughtUp = await waitForPersister(verification, policy.catchUpMs);
  checks.push(caughtUp);
  // Events that PostgreSQL lacks fail most checks, and repeating each of them would not change that.
  const repeats = caughtUp.ok ? policy.repeats : 0;
  for (const [done, definition] of CHECKS.entries()) {
    onProgress({ part: 'checks', done, of: CHECKS.length });
    checks.push(await runWithRetries(definition, verification, { ...policy, repeats }));
  }
  checks.push(...(await compareReservations(verification, onProgress)));
  return checks;
}

async function compareReservations(
  verification: Verification,
  onProgress: (progress: Progress) => void,
): Promise<Check[]> {
  // The current state: the scan also finds reservations that were made after the verification began.
  const upTo = await verification.readState();
  const of = ordinalOf(upTo.position, upTo.gaps);
  const seen = new SeenOrdinals(of);
  const records = await new RecordComparison(verification, upTo, seen).run((done) =>
    // More may have been reserved since.
    onProgress({ part: 'reservations', done: Math.min(done, of), of }),
  );
  return [...records, ...(await compareOrder(verification, upTo, seen))];
}

async function runWithRetries(
  definition: CheckDefinition,
  verification: Verification,
  policy: RetryPolicy,
): Promise<Check> {
  let finding = await definition.find(verification);
  const repeats = definition.isExact ? 0 : policy.repeats;
  for (let repeat = 0; !finding.ok && repeat < repeats; repeat += 1) {
    await sleep(policy.pauseMs);
    // Repeated with the current state, once PostgreSQL has its events.
    const again = { ...verification, state: await verification.readState() };
    await waitForPersister(again, policy.catchUpMs);
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
        `Redis does not have the sale${await whyClosed(servers.sql, saleId)}`,
      );
    default:
      return unreachable(reply);
  }
}

/**
 * The checkpoint is the newest entry in PostgreSQL; an older entry may still be pending at a persister that died. The
 * events that have left the stream are complete, so this waits for both.
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
    expected: `PostgreSQL has all events up to ${events} within ${timeoutMs / 1000} s`,
    actual: `it has all events up to ${all}`,
  };
}

/** Why the last recovery could not open the sale; empty unless it is blocked. */
async function whyClosed(sql: Sql, saleId: string): Promise<string> {
  const [last] = await sql<{ outcome: string; why: string }[]>`
    SELECT outcome, report->>'why' AS why FROM sale_recoveries
    WHERE sale_id = ${saleId} AND state = 'done' ORDER BY recovery_id DESC LIMIT 1`;
  return last?.outcome === 'blocked' ? `; its recovery is blocked: ${last.why}` : '';
}
