/** Hot paths inside the test's own process: real server, real Redis, every part at hand. */
import assert from 'node:assert/strict';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import { readHotPathConfig } from '../../src/config.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { type HotPath, startHotPath as start } from '../../src/hot-path/hot-path.ts';
import { applyOperation, type StockChange } from '../../src/lua/operate/apply-operation.ts';
import { readSale, type SaleState } from '../../src/lua/read/read-sale.ts';
import { createLogger } from '../../src/process/logger.ts';
import { Shards } from '../../src/redis/shards.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';
import { metric } from './metric.ts';

export const JWT_SECRET = 'a-secret-for-tests-of-more-than-32-bytes';

export async function connectShards(url: string): Promise<Shards> {
  const shards = new Shards({
    url,
    name: 'test',
    commandTimeoutMs: 1_000,
    requirements: { DURABILITY: 'fast', NODE_ENV: 'production' },
    log: createLogger('test', 'silent'),
    onUnfit,
  });
  await eventually(() => assert.ok(shards.isReady));
  return shards;
}

export function useShards(scope: Scope, redisUrl: string): Promise<Shards> {
  return use(scope, () => connectShards(redisUrl));
}

function onUnfit(fault: Error): never {
  throw fault;
}

export interface Reply {
  status: number;
  headers: Record<string, string>;
  // The answer of an HTTP call is whatever it is: a test says what it expects of it.
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
  readonly parts: HotPath;
  readonly #pool: Pool;

  constructor(parts: HotPath) {
    this.parts = parts;
    this.url = `http://127.0.0.1:${parts.port}`;
    this.#pool = new Pool(this.url, {
      connections: 200,
      bodyTimeout: 10_000,
      headersTimeout: 10_000,
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

  /** A metric of any name, summed over its samples. */
  async metric(name: string): Promise<number> {
    return metric(this.parts, name);
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
    await this.parts.close();
  }
}

/**
 * `environment` is what the process would read; the port is always a free one. Waits for Redis, unless the test is
 * about one that is away.
 */
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
    ...environment,
  });
  const log = createLogger('hot-path', environment.LOG_LEVEL ?? 'silent');
  const hotPath = await start(config, { sharePort: false, log, onUnfit });
  if (waitsForRedis) await eventually(() => assert.ok(hotPath.shards.isReady));
  return new TestHotPath(hotPath);
}

/** As `startHotPath`. */
export function useHotPath(
  scope: Scope,
  ...choices: Parameters<typeof startHotPath>
): Promise<TestHotPath> {
  return use(scope, () => startHotPath(...choices));
}

/** What an operator would do, without the admin: operations of one sale, numbered from 1. */
export class TestSale {
  readonly saleId: string;
  readonly #shards: Shards;
  #definition: SaleDefinition;
  #operation = 0;

  constructor(shards: Shards, definition: SaleDefinition) {
    this.#shards = shards;
    this.#definition = definition;
    this.saleId = definition.saleId;
  }

  async change(change: Partial<SaleDefinition>, stock: StockChange[] = []): Promise<void> {
    this.#definition = { ...this.#definition, ...change };
    const operation = {
      operation: ++this.#operation,
      timeline: 0,
      definition: this.#definition,
      changes: stock,
    };
    const reply = await this.#shards.call(applyOperation, this.saleId, operation);
    if (reply.outcome !== 'applied') throw new Error(`operation was not applied: ${reply.outcome}`);
    await this.#shards.publishChanged(this.saleId);
  }

  async state(): Promise<SaleState> {
    const reply = await this.#shards.call(readSale, this.saleId, this.saleId);
    if (reply.outcome === 'unknown_sale') throw new Error('the sale is unknown');
    return reply.state;
  }
}

let saleCount = 0;

/** An open sale of `stock` units a SKU, unless said otherwise. */
export async function openSale(
  shards: Shards,
  stock: Record<string, number>,
  definition: Partial<SaleDefinition> = {},
): Promise<TestSale> {
  const sale = new TestSale(shards, {
    saleId: `sale-${++saleCount}-${Date.now().toString(36)}`,
    name: 'a sale',
    currency: 'EUR',
    status: 'open',
    startsAt: null,
    endsAt: null,
    perBuyerLimit: 1,
    holdSeconds: 300,
    skus: Object.keys(stock).map((sku) => ({ sku, name: sku, price: 1_999 })),
    ...definition,
  });
  await sale.change(
    {},
    Object.entries(stock).map(([sku, delta]) => ({ sku, delta })),
  );
  return sale;
}

export function tokenOf(buyer: string, claims: Record<string, unknown> = {}): string {
  return signer({ sub: buyer, exp: Math.floor(Date.now() / 1_000) + 3_600, ...claims });
}
const signer = createSigner({ key: JWT_SECRET, algorithm: 'HS256' });

function rawBody(body: unknown): string | Buffer | null {
  if (body === undefined) return null;
  return typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
}
