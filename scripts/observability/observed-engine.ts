/** A whole engine with its own servers whose processes can be ended and replaced one by one, and a Prometheus that scrapes it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import type { Redis } from 'ioredis';
import { type EngineProcess, useEngineProcess } from '../../harness/engine/engine-process.ts';
import { type Receiver, useReceiver } from '../../harness/network/webhook-receiver.ts';
import { type TestPostgres, usePostgres } from '../../harness/servers/postgres.ts';
import { type Prometheus, usePrometheus } from '../../harness/servers/prometheus.ts';
import { type TestRedis, useRedis, withRedis } from '../../harness/servers/redis.ts';
import type { Scope } from '../../harness/use.ts';
import { connectPostgres, type Sql } from '../../src/postgres/connection.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

type ProcessName = 'hot-path' | 'persister' | 'admin';

const OPERATOR = `operator-${randomBytes(12).toString('hex')}`;
const JWT_SECRET = randomBytes(32).toString('hex');
const REQUEST_MS_MAX = 5_000;

interface Answer {
  status: number;
  // Any JSON: the caller knows what it asked for.
  // oxlint-disable-next-line typescript/no-explicit-any
  body: any;
}

export interface ObservedEngine {
  redis: TestRedis;
  postgres: TestPostgres;
  sql: Sql;
  prometheus: Prometheus;
  receiver: Receiver;
  processes: Record<ProcessName, EngineProcess>;
  /** Starts it again at its port, with more variables or from another main module. */
  replace(
    name: ProcessName,
    environment?: Record<string, string>,
    mainModule?: string,
  ): Promise<void>;
  onRedis<T>(run: (redis: Redis) => Promise<T>): Promise<T>;
  /** As an operator; the path without `/admin/v1`. Status 0: no response. */
  operate(request: string, body?: unknown): Promise<Answer>;
  /** Status 0: no response. */
  buy(saleId: string, buyer: string, sku?: string): Promise<Answer>;
  get(path: string, buyer: string): Promise<Answer>;
  /** An open sale of the SKU `unit`. */
  sell(stock: number, terms?: Record<string, unknown>): Promise<string>;
}

export async function useObservedEngine(
  scope: Scope,
  choices: { rules: Record<string, object>; intervalMs: number },
): Promise<ObservedEngine> {
  const [redis, postgres] = await Promise.all([useRedis(scope), usePostgres(scope)]);
  const sql = connectPostgres(postgres.url, { process: 'observe', connectionsMax: 2 });
  scope.after(() => sql.end({ timeout: 1 }));
  const receiver = await useReceiver(scope);
  const [hotPathPort, persisterPort, adminPort] = (await findFreePorts(3)) as [
    number,
    number,
    number,
  ];
  const ports = { 'hot-path': hotPathPort, persister: persisterPort, admin: adminPort };
  const common = {
    REDIS_URL: redis.url,
    DATABASE_URL: postgres.url,
    // Webhooks to this machine.
    NODE_ENV: 'development',
    JWT_SECRET,
    ADMIN_TOKENS: `operator:${OPERATOR}`,
    ARCHIVE_AFTER_DAYS: '0.0001',
    HOT_PATH_PORT: String(ports['hot-path']),
    PERSISTER_PORT: String(ports.persister),
    ADMIN_PORT: String(ports.admin),
  };
  const start = (name: ProcessName, environment = {}, mainModule?: string) =>
    useEngineProcess(scope, name, { ...common, ...environment }, mainModule);
  const processes = {
    'hot-path': await start('hot-path'),
    persister: await start('persister'),
    admin: await start('admin'),
  };
  await Promise.all(Object.values(processes).map((process) => process.untilReady()));
  const prometheus = await usePrometheus(scope, {
    targets: Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, [port]])),
    ...choices,
  });
  const sign = createSigner({ key: JWT_SECRET, algorithm: 'HS256' });
  const authorized = (buyer: string) => ({ authorization: `Bearer ${sign({ sub: buyer })}` });
  const engine: ObservedEngine = {
    redis,
    postgres,
    sql,
    prometheus,
    receiver,
    processes,
    async replace(name, environment, mainModule) {
      await processes[name].kill();
      processes[name] = await start(name, environment, mainModule);
      await processes[name].untilReady();
    },
    onRedis: (run) => withRedis(redis.url, run),
    operate(request, body) {
      const [method, path] = request.split(' ');
      return send(`http://127.0.0.1:${ports.admin}/admin/v1${path}`, {
        method: method!,
        headers: {
          authorization: `Bearer ${OPERATOR}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
      });
    },
    buy: (saleId, buyer) =>
      send(`http://127.0.0.1:${ports['hot-path']}/v1/sales/${saleId}/buy`, {
        method: 'POST',
        headers: authorized(buyer),
      }),
    get: (path, buyer) =>
      send(`http://127.0.0.1:${ports['hot-path']}${path}`, { headers: authorized(buyer) }),
    async sell(stock, terms = {}) {
      const saleId = `sale-${randomBytes(3).toString('hex')}`;
      const created = await engine.operate('POST /sales', {
        saleId,
        name: 'Observed',
        currency: 'EUR',
        skus: [{ sku: 'unit', price: 1_000, stock }],
        ...terms,
      });
      assert.equal(created.status, 201, JSON.stringify(created.body));
      const opened = await engine.operate(`POST /sales/${saleId}/open`);
      assert.equal(opened.status, 200, JSON.stringify(opened.body));
      return saleId;
    },
  };
  return engine;
}

async function send(url: string, init: RequestInit): Promise<Answer> {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(REQUEST_MS_MAX) });
    const text = await response.text();
    return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
  } catch {
    return { status: 0, body: undefined };
  }
}

/** Repeats an action until it is stopped, some at once, with a pause after each. */
export function keepDoing(
  action: (count: number) => Promise<unknown>,
  { atOnce = 1, pauseMs = 100 } = {},
): { stop(): Promise<void> } {
  const stopping = new AbortController();
  let count = 0;
  const loops = Array.from({ length: atOnce }, async () => {
    while (!stopping.signal.aborted) {
      await action(++count);
      await sleep(pauseMs);
    }
  });
  return {
    async stop() {
      stopping.abort();
      await Promise.all(loops);
    },
  };
}
