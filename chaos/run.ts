/**
 * One run: its own stack and sale, a scenario with faults, then calm. When the sale has come to rest by itself, the
 * checker checks the history and the server snapshot.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
import type { Restore } from './faults/restored-backup.ts';
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

export interface Scenario {
  terms: Omit<Terms, 'saleId'>;
  /** Resolves when every client is done or has given up. */
  act: (scene: RunContext) => Promise<Acted>;
}

export interface Acted {
  /** The data that Redis lost. */
  losses: Loss[];
  /** What persisters on copies of the database took over. */
  consumed?: string[];
  /** Undefined: no backup of PostgreSQL was restored. */
  restore?: Restore | undefined;
  begun?: StartedFault[];
  /** When the last fault was over, on the monotonic clock. */
  calmAtMs: number;
}

export interface RunChoices
  extends Pick<
    StackChoices,
    | 'mainModule'
    | 'durability'
    | 'topology'
    | 'redisCommand'
    | 'hasClocks'
    | 'directory'
    | 'postgres'
    | 'stopping'
  > {
  seed: number;
  /** How long the sale may take to come to rest by itself. */
  restMsMax: number;
  /** Whether to request the engine's own `verify` as well. */
  verifies: boolean;
}

type EffectiveFault = PlannedFault & Pick<StartedFault, 'replaced'>;

export interface RunReport {
  seed: number;
  violations: Violation[];
  /** How often each response was given, by kind of request. */
  responses: Record<string, number>;
  reservations: number;
  events: number;
  /** Acknowledged reservations that a data loss was allowed to take. */
  lost: number;
  /** The planned faults that took effect. */
  effectiveFaults: EffectiveFault[];
  seconds: number;
  /** From the end of the last fault until all clients had their responses and the sale was at rest. */
  restSeconds: number;
}

/** After a failover that no fault has caused. */
const REST_AGAIN_MS_MAX = 30_000;
/** Another program may have taken a port since it was found free. */
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

/** Rejects, with everything stopped, when `choices.stopping` is aborted. */
export async function run(choices: RunChoices, scenario: Scenario): Promise<RunReport> {
  const startedMs = performance.now();
  mkdirSync(choices.directory, { recursive: true });
  const saleId = `chaos-${choices.seed}`;
  const database = await createDatabase(choices.postgres.url, `chaos_${choices.seed}`);
  const stack = await startStack({ ...choices, saleId, databaseUrl: database.url });
  const history = new History();
  const client = new Client(stack.endpoints, history);
  const inspector = new Inspector(stack.redis, database.url);
  const sellAndCheck = async (): Promise<RunReport> => {
    const random = new Random(choices.seed);
    const terms = { ...scenario.terms, saleId };
    await openSale(client, terms, random);
    const acted = await scenario.act({ stack, client, inspector, random, terms });
    const { losses, consumed = [], restore, begun = [], calmAtMs } = acted;
    stack.heal();
    const pending = await inspector.waitForRest(saleId, choices.restMsMax);
    const restMs = performance.now() - calmAtMs;
    const snapshot = await inspector.read(saleId);
    const { violations, lost } = check({
      terms,
      durability: choices.durability,
      history,
      snapshot,
      losses,
      restore,
      clockErrorMs: begun.reduce((sum, { fault }) => sum + Math.abs(fault.byMs ?? 0), 0),
    });
    if (pending !== undefined) violations.push({ kind: 'did-not-recover', evidence: pending });
    if (choices.verifies) violations.push(...(await verify({ stack, client, inspector })));
    for (const evidence of consumed) violations.push({ kind: 'consumed-by-a-copy', evidence });
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
      effectiveFaults: begun
        .filter(({ tookEffect }) => tookEffect())
        .map(({ fault, replaced }) => ({ ...fault, replaced })),
      seconds: (performance.now() - startedMs) / 1_000,
      restSeconds: restMs / 1_000,
    };
  };
  try {
    return await unlessAborted(sellAndCheck(), choices.stopping);
  } finally {
    await client.close();
    await inspector.close();
    await stack.stop();
    // After a signal, PostgreSQL ends with all its databases; it may be down or frozen now.
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
  await client.requestAdmin('POST', '/sales', {
    name: 'Chaos',
    currency: 'EUR',
    ...terms,
  });
  await client.sendUntilSettled({ kind: 'open' }, random);
}

async function verify({
  stack: { redis },
  client,
  inspector,
}: Pick<RunContext, 'stack' | 'client' | 'inspector'>): Promise<Violation[]> {
  try {
    const failed = await persistently(async (isLast) => {
      await redis.untilSettled().catch(() => undefined);
      await inspector.waitForRest(client.saleId, REST_AGAIN_MS_MAX);
      const { checks } = (await client.requestAdmin('GET', `/sales/${client.saleId}/verify`)) as {
        checks: { name: string; ok: boolean; expected: string; actual: string }[];
      };
      const wrong = checks.filter(({ ok }) => !ok);
      // Nothing was compared: on a busy machine, a cluster may replace a master without a fault.
      const isRefused = redis.servers.length > 1 && wrong[0]?.name === 'redis-knows-the-sale';
      if (isRefused && !isLast) throw new Error(wrong[0]!.actual);
      return wrong;
    });
    return failed.map(({ name, expected, actual }) => ({
      kind: 'verify-failed',
      evidence: `${name}: ${actual}; expected: ${expected}`,
    }));
  } catch (error) {
    return [{ kind: 'verify-failed', evidence: String(error) }];
  }
}

/** A fault may have broken a connection that the pool keeps. */
async function persistently<T>(request: (isLast: boolean) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request(attempt === START_TRIES);
    } catch (error) {
      if (attempt === START_TRIES) throw error;
    }
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

/** A copy of the migrated database of `startPostgres`. */
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

export interface RunLogs {
  /** The directory of a run, by its name. */
  logsOf: (run: string) => string;
  /** Deletes the logs of a run that passed. */
  forgetLogsOf: (run: string) => void;
}

/** Call this before the command session opens, whose temporary directory is deleted. */
export function openRunLogs(): RunLogs {
  const logs = mkdtempSync(join(tmpdir(), 'flash-sale-chaos-logs-'));
  process.once('exit', () => {
    if (readdirSync(logs).length === 0) rmSync(logs, { recursive: true });
  });
  const logsOf = (name: string) => join(logs, name);
  return {
    logsOf,
    forgetLogsOf: (name) => rmSync(logsOf(name), { recursive: true, force: true }),
  };
}
