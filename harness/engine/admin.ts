/** Admins inside the test's own process: the real application on its own Redis and database, without a socket. */
import assert from 'node:assert/strict';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { createAdminApp } from '../../src/admin/app.ts';
import type { Servers } from '../../src/admin/context.ts';
import { createAdminMetrics } from '../../src/admin/metrics.ts';
import type { AdminToken } from '../../src/config.ts';
import { readSale, type SaleState } from '../../src/lua/read/read-sale.ts';
import type { Pairing } from '../../src/pairing/pairing.ts';
import { createLogger } from '../../src/process/logger.ts';
import { createMetrics } from '../../src/process/metrics.ts';
import type { Tracing } from '../../src/process/tracing/tracing.ts';
import { type Connections, useServers } from '../servers/connections.ts';
import type { TestRedis } from '../servers/redis.ts';
import { type Scope, use } from '../use.ts';

export const TOKENS = {
  viewer: 'viewer-token-for-tests-only',
  merchant: 'merchant-token-for-tests-only',
  operator: 'operator-token-for-tests-only',
} as const;

/** TOKENS as a process has them. */
export const ADMIN_TOKENS: readonly AdminToken[] = Object.entries(TOKENS).map(([role, token]) => ({
  role: role as keyof typeof TOKENS,
  token,
}));

export interface AdminReply {
  status: number;
  headers: Record<string, unknown>;
  // Any JSON: the test asserts on it.
  // oxlint-disable-next-line typescript/no-explicit-any
  body: any;
}

export interface AdminCallOptions {
  as?: keyof typeof TOKENS | null;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface TestAdmin extends Servers {
  app: FastifyInstance;
  redis: TestRedis;
  databaseUrl: string;
  /** As the operator by default: `call('POST /sales', { body })`. Paths get `/admin/v1` unless they begin with `//`. */
  call(request: string, options?: AdminCallOptions): Promise<AdminReply>;
}

export async function useAdmin(scope: Scope): Promise<TestAdmin> {
  const { redis, database, servers } = await useServers(scope);
  const app = await useApp(scope, servers);
  return {
    app,
    redis,
    databaseUrl: database.url,
    ...serversOf(servers),
    call: (request, options) => callAdmin(app, request, options),
  };
}

interface AppChoices {
  tracing?: Tracing;
  isDevelopment?: boolean;
  trustedProxies?: string[];
  pairing?: Pairing;
  tokens?: readonly AdminToken[];
  log?: Servers['log'];
}

/** Another admin over the same connections, like a second replica. */
export function useApp(
  scope: Scope,
  connections: Pick<Connections, 'sql' | 'shards'>,
  choices: AppChoices = {},
) {
  return use(scope, async () => {
    const app = await createAdminApp({
      ...serversOf(connections),
      pairing: choices.pairing,
      isDevelopment: choices.isDevelopment ?? false,
      metrics: createAdminMetrics(createMetrics('admin')),
      trustedProxies: choices.trustedProxies ?? [],
      tokens: choices.tokens ?? ADMIN_TOKENS,
      ...(choices.log && { log: choices.log }),
      tracing: choices.tracing,
    });
    await app.ready();
    return app;
  });
}

export async function callAdmin(
  app: FastifyInstance,
  request: string,
  options: AdminCallOptions = {},
): Promise<AdminReply> {
  const [method, path] = request.split(' ');
  const token = options.as === null ? undefined : TOKENS[options.as ?? 'operator'];
  const injected: InjectOptions = {
    method: method as 'GET',
    url: path!.startsWith('//') ? path!.slice(1) : `/admin/v1${path}`,
    headers: {
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(options.body === undefined
      ? {}
      : {
          payload:
            typeof options.body === 'string' || Buffer.isBuffer(options.body)
              ? options.body
              : JSON.stringify(options.body),
        }),
  };
  const response = await app.inject(injected);
  const isJson = /json/.test(String(response.headers['content-type']));
  return {
    status: response.statusCode,
    headers: response.headers,
    body: isJson ? response.json() : response.body,
  };
}

/** The body of a request that creates a sale. */
export function newSale(overrides: Record<string, unknown> = {}) {
  return {
    name: 'Phones',
    currency: 'EUR',
    skus: [{ sku: 'black', name: 'Black', price: 19_900, stock: 100 }],
    ...overrides,
  };
}

export async function makeDraft(
  admin: TestAdmin,
  overrides: Record<string, unknown> = {},
): Promise<string> {
  const created = await admin.call('POST /sales', { body: newSale(overrides) });
  assert.equal(created.status, 201, JSON.stringify(created.body));
  return created.body.saleId;
}

export async function stateInRedis(admin: TestAdmin, saleId: string): Promise<SaleState> {
  const reply = await admin.shards.call(readSale, saleId);
  assert.ok(reply.outcome === 'known', reply.outcome);
  return reply.state;
}

function serversOf({ sql, shards }: Pick<Connections, 'sql' | 'shards'>): Servers {
  return { sql, shards, log: createLogger('admin', 'silent') };
}
