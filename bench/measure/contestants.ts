/** The processes that are compared: the engine as in production, and its alternatives. */
import { join } from 'node:path';
import { KeepAliveClient } from '../../harness/network/keep-alive-client.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';
import type { ConstantResponse } from '../baselines/ceiling.ts';
import { JWT_SECRET } from '../load/buyers.ts';
import { buyTemplate } from '../load/wrk.ts';
import type { Program, Started, Testbed } from './testbed.ts';

export const ENGINE = 'engine';
export const ONE_CALL = 'one call per buyer';
export const CEILING = 'ceiling';
export const CONVENTIONAL = 'conventional';
export const SQL = 'SQL';

/** A slow disk must show as time, not as errors. */
const REDIS_COMMAND_TIMEOUT_MS = '20000';
const REASONS: Record<number, string> = { 201: '201 Created', 409: '409 Conflict' };
/** uWebSockets.js writes these headers itself. */
const WRITTEN_BY_SERVER = new Set(['uwebsockets', 'date', 'content-length']);

export function startEngine(
  testbed: Testbed,
  env: Record<string, string> = {},
  name = ENGINE,
): Promise<Started> {
  return testbed.start(name, engineProgram(testbed, env));
}

export function engineProgram(testbed: Testbed, env: Record<string, string>): Program {
  return {
    args: [MAIN_MODULE, 'hot-path'],
    portVariable: 'HOT_PATH_PORT',
    env: {
      REDIS_URL: testbed.redisUrl,
      DURABILITY: testbed.durability,
      JWT_SECRET,
      REDIS_COMMAND_TIMEOUT_MS,
      ...env,
    },
  };
}

/** The engine without batching: one Redis call per buyer. */
export function startOneCall(testbed: Testbed): Promise<Started> {
  // Enough calls in flight that it never waits for a permit where the batching engine would not.
  return startEngine(testbed, { BATCH_SIZE_MAX: '1', BATCHES_IN_FLIGHT_MAX: '16' }, ONE_CALL);
}

export function startPersister(testbed: Testbed): Promise<Started> {
  return testbed.start('persister', {
    args: [MAIN_MODULE, 'persister'],
    portVariable: 'PERSISTER_PORT',
    env: {
      REDIS_URL: testbed.redisUrl,
      DATABASE_URL: testbed.postgresUrl,
      DURABILITY: testbed.durability,
    },
  });
}

export function startCeiling(testbed: Testbed, response: ConstantResponse): Promise<Started> {
  return startBaseline(testbed, CEILING, 'ceiling.ts', { RESPONSE: JSON.stringify(response) });
}

/** With `durable` a response waits until the order is in PostgreSQL. */
export function startConventional(testbed: Testbed, orders: 'redis' | 'durable'): Promise<Started> {
  return startBaseline(testbed, CONVENTIONAL, 'conventional.ts', { ORDERS: orders });
}

export function startSql(testbed: Testbed): Promise<Started> {
  return startBaseline(testbed, SQL, 'sql.ts', {});
}

function startBaseline(
  testbed: Testbed,
  name: string,
  file: string,
  env: Record<string, string>,
): Promise<Started> {
  return testbed.start(name, {
    args: [join(import.meta.dirname, '../baselines', file)],
    portVariable: 'PORT',
    env: { REDIS_URL: testbed.redisUrl, DATABASE_URL: testbed.postgresUrl, JWT_SECRET, ...env },
  });
}

/** The response to one purchase, for the ceiling to repeat. */
export async function responseOf(
  { port }: Started,
  saleId: string,
  buyer: { token: string; key: string },
): Promise<ConstantResponse & { code: number }> {
  const client = new KeepAliveClient(port);
  const request = buyTemplate(saleId).replace('{token}', buyer.token).replace('{key}', buyer.key);
  try {
    const { status, headers, body } = await client.send(request);
    return {
      code: status,
      status: REASONS[status] ?? String(status),
      headers: Object.entries(headers).filter(([name]) => !WRITTEN_BY_SERVER.has(name)),
      body,
    };
  } finally {
    client.close();
  }
}

/** How many buyers got which outcome since the start of the process. */
export async function countOutcomes({ url }: Started): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const counts = new Map<string, number>();
  for (const [, outcome, count] of text.matchAll(
    /^flash_sale_buy_seconds_count\{.*?outcome="(\w+)".*?\} (\d+)$/gm,
  )) {
    counts.set(outcome!, (counts.get(outcome!) ?? 0) + Number(count));
  }
  return counts;
}
