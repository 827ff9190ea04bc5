/**
 * One run: a stack of its own, a sale, something that happens to both, then peace. When the sale has come to rest by
 * itself, everything that was said and is kept is judged.
 */
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { Random } from '../harness/random.ts';
import type { Terms } from './check/case.ts';
import { check } from './check/check.ts';
import { describeResponse } from './check/responses.ts';
import type { Violation } from './check/violation.ts';
import { Client } from './clients/client.ts';
import { History } from './clients/history.ts';
import type { StartedFault } from './faults/inject.ts';
import type { Loss } from './faults/losses.ts';
import type { PlannedFault } from './faults/schedule.ts';
import { Inspector } from './server-snapshot.ts';
import { ChaosStack, type StackChoices } from './stack.ts';

export interface RunContext {
  stack: ChaosStack;
  client: Client;
  inspector: Inspector;
  random: Random;
  terms: Terms;
}

/** What happens in a run. */
export interface Scenario {
  terms: Omit<Terms, 'saleId'>;
  /** Resolves when everybody has what they came for, or has given up. */
  act: (scene: RunContext) => Promise<Acted>;
}

export interface Acted {
  /** What Redis was made to forget. */
  losses: Loss[];
  begun?: StartedFault[];
  /** When the last fault was over, on the monotonic clock. */
  calmAtMs: number;
}

export interface RunChoices
  extends Pick<StackChoices, 'mainModule' | 'durability' | 'directory' | 'postgres' | 'stopping'> {
  seed: number;
  /** After everything is over the sale has so long to come to rest by itself. */
  restMsMax: number;
  /** Whether the engine's own check is asked as well. */
  verifies: boolean;
}

export interface RunReport {
  seed: number;
  violations: Violation[];
  /** How often each answer was given, by what was asked. */
  responses: Record<string, number>;
  reservations: number;
  events: number;
  /** Acknowledged and taken by a loss of memory, as it may. */
  lost: number;
  /** Of the planned faults those that met what they were meant for. */
  effectiveFaults: PlannedFault[];
  seconds: number;
  /** From the end of the last fault until all clients had their answers and the sale was at rest. */
  restSeconds: number;
}

const POLL_MS = 50;

/** A port that was free when it was chosen may be another program's by the time a process wants it. */
const START_TRIES = 3;

async function startStack(choices: StackChoices): Promise<ChaosStack> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ChaosStack.start(choices);
    } catch (error) {
      if (attempt === START_TRIES || choices.stopping?.aborted) throw error;
    }
  }
}

/** Rejects, with everything stopped, when it is told to stop by `choices.stopping`. */
export async function run(choices: RunChoices, scenario: Scenario): Promise<RunReport> {
  const startedMs = performance.now();
  mkdirSync(choices.directory, { recursive: true });
  const saleId = `chaos-${choices.seed}`;
  const database = await createDatabase(choices.postgres.url, `chaos_${choices.seed}`);
  const stack = await startStack({ ...choices, saleId, databaseUrl: database.url });
  const history = new History();
  const client = new Client(stack.endpoints, history);
  const inspector = new Inspector({ redisUrl: stack.redis.url, postgresUrl: database.url });
  const sellAndJudge = async (): Promise<RunReport> => {
    const random = new Random(choices.seed);
    const terms = { ...scenario.terms, saleId };
    await openSale(client, terms, random);
    const acted = await scenario.act({ stack, client, inspector, random, terms });
    const { losses, begun = [], calmAtMs } = acted;
    stack.heal();
    const restless = await waitForRest(inspector, saleId, choices.restMsMax);
    const restMs = performance.now() - calmAtMs;
    const snapshot = await inspector.read(saleId);
    const { violations, lost } = check({
      terms,
      durability: choices.durability,
      history,
      snapshot,
      losses,
    });
    if (restless !== undefined) violations.push({ kind: 'did-not-recover', evidence: restless });
    if (choices.verifies) violations.push(...(await verify(client, saleId)));
    for (const evidence of stack.unexpectedExits) {
      violations.push({ kind: 'process-died', evidence });
    }
    return {
      seed: choices.seed,
      violations,
      responses: countResponses(history),
      reservations: snapshot.postgres.rows.length,
      events: snapshot.postgres.events.length,
      lost,
      effectiveFaults: begun.filter(({ tookEffect }) => tookEffect()).map(({ fault }) => fault),
      seconds: (performance.now() - startedMs) / 1_000,
      restSeconds: restMs / 1_000,
    };
  };
  try {
    return await unlessAborted(sellAndJudge(), choices.stopping);
  } finally {
    await client.close();
    await inspector.close();
    await stack.stop();
    // Whoever stops everything ends PostgreSQL with all that is in it, and it may be down or frozen just now.
    if (!choices.stopping?.aborted) await database.drop();
  }
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason as Error);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort);
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

async function openSale(client: Client, terms: Terms, random: Random): Promise<void> {
  const { saleId, perBuyerLimit, holdSeconds, skus } = terms;
  await client.requestAdmin('POST', '/sales', {
    saleId,
    name: 'Chaos',
    currency: 'EUR',
    perBuyerLimit,
    holdSeconds,
    skus,
  });
  await client.sendUntilDecided({ kind: 'open' }, random);
}

/** Undefined: it came to rest. Else what kept it from it at last. */
async function waitForRest(
  inspector: Inspector,
  saleId: string,
  restMsMax: number,
): Promise<string | undefined> {
  const deadlineMs = performance.now() + restMsMax;
  for (;;) {
    const why = await inspector
      .pendingWork(saleId)
      .catch((error: unknown) => `it can not be looked at: ${String(error)}`);
    if (why === undefined || performance.now() > deadlineMs) return why;
    await sleep(POLL_MS);
  }
}

async function verify(client: Client, saleId: string): Promise<Violation[]> {
  try {
    const verdict = (await client.requestAdmin('GET', `/sales/${saleId}/verify`)) as {
      checks: { name: string; ok: boolean; expected: string; actual: string }[];
    };
    return verdict.checks
      .filter(({ ok }) => !ok)
      .map(({ name, expected, actual }) => ({
        kind: 'verify-failed',
        evidence: `${name}: ${actual}; expected: ${expected}`,
      }));
  } catch (error) {
    return [{ kind: 'verify-failed', evidence: String(error) }];
  }
}

function countResponses(history: History): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const exchange of history.exchanges) {
    const name = `${exchange.request.kind}: ${describeResponse(exchange)}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

/** A copy of the migrated database that `startPostgres` has made. */
async function createDatabase(
  url: string,
  name: string,
): Promise<{ url: string; drop: () => Promise<void> }> {
  const adminUrl = Object.assign(new URL(url), { pathname: '/postgres' }).href;
  const template = new URL(url).pathname.slice(1);
  const execute = async (work: (sql: postgres.Sql) => Promise<unknown>) => {
    const sql = postgres(adminUrl, { max: 1, onnotice: () => undefined });
    try {
      await work(sql);
    } finally {
      await sql.end({ timeout: 1 });
    }
  };
  await execute(async (sql) => {
    await sql`DROP DATABASE IF EXISTS ${sql(name)} WITH (FORCE)`;
    await sql`CREATE DATABASE ${sql(name)} TEMPLATE ${sql(template)}`;
  });
  return {
    url: Object.assign(new URL(url), { pathname: `/${name}` }).href,
    drop: () => execute((sql) => sql`DROP DATABASE IF EXISTS ${sql(name)} WITH (FORCE)`),
  };
}
