/**
 * Sends requests as buyers, merchants and operators do, over links that break, and puts every one in the history.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import type { Random } from '../harness/random.ts';
import { unreachable } from '../src/domain/fault.ts';
import { type Asked, type Exchange, type History, isSettled, nowMs } from './history.ts';

export interface Market {
  saleId: string;
  /** Front ends, as buyers reach them. */
  hotPathUrls: readonly string[];
  adminUrl: string;
  jwtSecret: string;
  operatorToken: string;
}

/** Longer than the engine's own limits, so that silence means that something is broken. */
const ANSWER_MS_MAX = 3_000;
const CONNECTIONS = 128;
const TOKEN_MS = 3_600_000;
/** About what `Retry-After` asks for. */
const RETRY_MS = { least: 200, most: 1_200 };

interface HttpRequest {
  pool: Pool;
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  headers: Record<string, string>;
  body?: object;
}

export class Client {
  readonly saleId: string;
  readonly #market: Market;
  readonly #history: History;
  readonly #hotPaths: Pool[];
  readonly #admin: Pool;
  readonly #tokens = new Map<string, string>();
  readonly #sign: (claims: { sub: string }) => string;
  #count = 0;
  /** When whoever has no answer yet gives up. */
  patienceEndsMs = Number.POSITIVE_INFINITY;

  constructor(market: Market, history: History) {
    this.saleId = market.saleId;
    this.#market = market;
    this.#history = history;
    const poolOf = (url: string) =>
      new Pool(url, {
        connections: CONNECTIONS,
        headersTimeout: ANSWER_MS_MAX,
        bodyTimeout: ANSWER_MS_MAX,
        connect: { timeout: ANSWER_MS_MAX },
      });
    this.#hotPaths = market.hotPathUrls.map(poolOf);
    this.#admin = poolOf(market.adminUrl);
    const sign = createSigner({ key: market.jwtSecret, algorithm: 'HS256', expiresIn: TOKEN_MS });
    this.#sign = (claims) => sign(claims);
  }

  /** Once, whatever comes of it. `random` chooses the front end. */
  async ask(asked: Asked, random: Random): Promise<Exchange> {
    const requestId = `${this.saleId}-${(++this.#count).toString(36)}`;
    const { pool, method, path, headers, body } = this.#requestOf(asked, random);
    const beganMs = nowMs();
    let answer: Exchange['answer'];
    try {
      const response = await pool.request({
        method,
        path,
        headers: {
          ...headers,
          'x-request-id': requestId,
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
        body: body ? JSON.stringify(body) : null,
      });
      const text = await response.body.text();
      const value = JSON.parse(text) as { code?: string };
      answer = {
        status: response.statusCode,
        code: response.statusCode >= 400 ? value.code : undefined,
        isReplayed: response.headers['idempotent-replayed'] === 'true',
        body: value,
      };
    } catch {
      answer = undefined;
    }
    const exchange = { asked, requestId, beganMs, endedMs: nowMs(), answer };
    this.#history.add(exchange);
    return exchange;
  }

  /** The same request again and again until it has a real answer. Undefined: patience ended before. */
  async insist(asked: Asked, random: Random): Promise<Exchange | undefined> {
    for (;;) {
      const exchange = await this.ask(asked, random);
      if (isSettled(exchange)) return exchange;
      if (nowMs() > this.patienceEndsMs) {
        this.#history.unanswered.push(asked);
        return undefined;
      }
      await sleep(random.between(RETRY_MS.least, RETRY_MS.most));
    }
  }

  /** Asks admin what is not part of the model, such as `verify`. */
  async askAdmin(method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
    const response = await this.#admin.request({
      method,
      path: `/admin/v1${path}`,
      headers: {
        authorization: `Bearer ${this.#market.operatorToken}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : null,
      headersTimeout: 60_000,
    });
    const text = await response.body.text();
    if (response.statusCode >= 300) {
      throw new Error(`${method} ${path} was answered ${response.statusCode}: ${text}`);
    }
    return JSON.parse(text);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#hotPaths, this.#admin].map((pool) => pool.destroy()));
  }

  #requestOf(asked: Asked, random: Random): HttpRequest {
    const sale = `/v1/sales/${this.saleId}`;
    switch (asked.kind) {
      case 'buy': {
        const request = this.#asBuyer(asked, random, 'POST', `${sale}/buy`, { items: asked.items });
        if (asked.key !== undefined) request.headers['idempotency-key'] = asked.key;
        return request;
      }
      case 'me':
        return this.#asBuyer(asked, random, 'GET', `${sale}/me`);
      case 'look':
        return this.#asBuyer(asked, random, 'GET', `/v1/reservations/${asked.reservationId}`);
      case 'give-back': {
        const path = `/v1/reservations/${asked.reservationId}/cancel`;
        return this.#asBuyer(asked, random, 'POST', path);
      }
      case 'join': {
        const { sku, quantity } = asked;
        return this.#asBuyer(asked, random, 'POST', `${sale}/waitlist`, { sku, quantity });
      }
      case 'leave':
        return this.#asBuyer(asked, random, 'DELETE', `${sale}/waitlist`);
      case 'confirm':
      case 'cancel':
      case 'extend':
        return this.#asOperator(`/reservations/${asked.reservationId}/${asked.kind}`, {});
      case 'stock': {
        const { sku, delta } = asked;
        const request = this.#asOperator(`/sales/${this.saleId}/stock`, { sku, delta });
        request.headers['idempotency-key'] = asked.key;
        return request;
      }
      case 'open':
      case 'pause':
      case 'resume':
        return this.#asOperator(`/sales/${this.saleId}/${asked.kind}`);
      default:
        return unreachable(asked);
    }
  }

  #asBuyer(
    { buyerId }: { buyerId: string },
    random: Random,
    method: HttpRequest['method'],
    path: string,
    body?: object,
  ): HttpRequest {
    let token = this.#tokens.get(buyerId);
    if (token === undefined) {
      token = this.#sign({ sub: buyerId });
      this.#tokens.set(buyerId, token);
    }
    const headers = { authorization: `Bearer ${token}` };
    return { pool: random.pick(this.#hotPaths), method, path, headers, ...(body ? { body } : {}) };
  }

  #asOperator(path: string, body?: object): HttpRequest {
    const headers = { authorization: `Bearer ${this.#market.operatorToken}` };
    const request = {
      pool: this.#admin,
      method: 'POST',
      path: `/admin/v1${path}`,
      headers,
    } as const;
    return body ? { ...request, body } : request;
  }
}
