/** Hot paths inside the test's own process: a real HTTP server on a real Redis, with access to its internals. */
import assert from 'node:assert/strict';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import { readHotPathConfig } from '../../src/config.ts';
import { type HotPath, startHotPath as start } from '../../src/hot-path/hot-path.ts';
import { createLogger } from '../../src/process/logger.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import { metric } from './metrics.ts';

export const JWT_SECRET = 'a-secret-for-tests-of-more-than-32-bytes';

/** Longer than a call of Redis and the wait for its replicas may take. */
const RESPONSE_MS_MAX = 45_000;

function onUnfit(fault: Error): never {
  throw fault;
}

export interface Reply {
  status: number;
  headers: Record<string, string>;
  // Any JSON: the test asserts on it.
  // oxlint-disable-next-line typescript/no-explicit-any
  body: any;
}

export interface CallOptions {
  method?: string;
  buyer?: string;
  key?: string;
  body?: unknown;
  headers?: Record<string, string>;
}

export class TestHotPath {
  readonly url: string;
  readonly internals: HotPath;
  readonly #pool: Pool;

  constructor(internals: HotPath) {
    this.internals = internals;
    this.url = `http://127.0.0.1:${internals.port}`;
    this.#pool = new Pool(this.url, {
      connections: 200,
      bodyTimeout: RESPONSE_MS_MAX,
      headersTimeout: RESPONSE_MS_MAX,
    });
  }

  tokenOf(buyer: string): string {
    return tokenOf(buyer);
  }

  async call(path: string, options: CallOptions = {}): Promise<Reply> {
    const { buyer, key, body } = options;
    const response = await this.#pool.request({
      path,
      method: options.method ?? 'GET',
      headers: {
        ...(buyer === undefined ? {} : { authorization: `Bearer ${tokenOf(buyer)}` }),
        ...(key === undefined ? {} : { 'idempotency-key': key }),
        ...options.headers,
      },
      body: rawBody(body),
    });
    const text = await response.body.text();
    const isJson = String(response.headers['content-type']).includes('json');
    return {
      status: response.statusCode,
      headers: response.headers as Record<string, string>,
      body: isJson && text !== '' ? JSON.parse(text) : text,
    };
  }

  buy(saleId: string, buyer: string, options: CallOptions = {}): Promise<Reply> {
    return this.call(`/v1/sales/${saleId}/buy`, { method: 'POST', buyer, ...options });
  }

  /** A metric by its full name, summed over its samples. */
  async metric(name: string): Promise<number> {
    return metric(this.internals, name);
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
    await this.internals.close();
  }
}

/** `environment` overrides the configuration; the port is always a free one. Waits for Redis by default. */
export async function startHotPath(
  redisUrl: string,
  environment: Record<string, string> = {},
  waitsForRedis = true,
): Promise<TestHotPath> {
  const config = readHotPathConfig({
    REDIS_URL: redisUrl,
    JWT_SECRET,
    HOT_PATH_PORT: '0',
    DURABILITY: 'fast',
    // A slow disk must not fail a test of something else.
    REDIS_COMMAND_TIMEOUT_MS: '20000',
    ...environment,
  });
  const log = createLogger('hot-path', environment.LOG_LEVEL ?? 'silent');
  const hotPath = await start(config, { sharePort: false, log, onUnfit });
  if (waitsForRedis) await eventually(() => assert.ok(hotPath.shards.isReady));
  return new TestHotPath(hotPath);
}

export function useHotPath(
  scope: Scope,
  ...choices: Parameters<typeof startHotPath>
): Promise<TestHotPath> {
  return use(scope, () => startHotPath(...choices));
}

export function tokenOf(buyer: string, claims: Record<string, unknown> = {}): string {
  return signer({ sub: buyer, exp: Math.floor(Date.now() / 1_000) + 3_600, ...claims });
}
const signer = createSigner({ key: JWT_SECRET, algorithm: 'HS256' });

function rawBody(body: unknown): string | Buffer | null {
  if (body === undefined) return null;
  return typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
}
