/** Sends requests as buyers, merchants and operators over links that fail, and records each exchange in the history. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from 'fast-jwt';
import { Pool } from 'undici';
import type { Random } from '../../harness/random.ts';
import { unreachable } from '../../src/domain/fault.ts';
import { type ClientRequest, type Exchange, type History, isSettled, nowMs } from './history.ts';

export interface SaleEndpoints {
  saleId: string;
  /** Hot paths, through the buyers' links. */
  hotPathUrls: readonly string[];
  adminUrl: string;
  jwtSecret: string;
  operatorToken: string;
}

/** Longer than the engine's own limits, so no response within it means that something is broken. */
const RESPONSE_TIMEOUT_MS = 3_000;
/** Archiving includes a verification. */
const ARCHIVE_TIMEOUT_MS = 20_000;
/** Between two looks at the clock. A much longer time means that the machine was suspended. */
const LOOK_MS = 500;
const PAUSE_MS_MIN = 5_000;
const CONNECTIONS = 128;
const TOKEN_MS = 3_600_000;
/** About the value of `Retry-After`. */
const RETRY_MS = { least: 200, most: 1_200 };

interface HttpRequest {
  pool: Pool;
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  headers: Record<string, string>;
  body?: object;
  timeoutMs?: number;
}

export class Client {
  readonly saleId: string;
  readonly #endpoints: SaleEndpoints;
  readonly history: History;
  readonly #hotPaths: Pool[];
  readonly #admin: Pool;
  readonly #tokens = new Map<string, string>();
  readonly #sign: (claims: { sub: string }) => string;
  #count = 0;
  /** After this time, requests without a settled response are not repeated. */
  patienceEndsMs = Number.POSITIVE_INFINITY;
  #lookedAtMs = nowMs();
  readonly #looks = setInterval(() => this.#forgivePause(), LOOK_MS).unref();

  constructor(endpoints: SaleEndpoints, history: History) {
    this.saleId = endpoints.saleId;
    this.#endpoints = endpoints;
    this.history = history;
    const poolOf = (url: string) =>
      new Pool(url, {
        connections: CONNECTIONS,
        headersTimeout: RESPONSE_TIMEOUT_MS,
        bodyTimeout: RESPONSE_TIMEOUT_MS,
        connect: { timeout: RESPONSE_TIMEOUT_MS },
      });
    this.#hotPaths = endpoints.hotPathUrls.map(poolOf);
    this.#admin = poolOf(endpoints.adminUrl);
    const sign = createSigner({
      key: endpoints.jwtSecret,
      algorithm: 'HS256',
      expiresIn: TOKEN_MS,
    });
    this.#sign = (claims) => sign(claims);
  }

  /** Sends once. `random` chooses the hot path. */
  async send(request: ClientRequest, random: Random): Promise<Exchange> {
    const requestId = `${this.saleId}-${(++this.#count).toString(36)}`;
    const { pool, method, path, headers, body, timeoutMs } = this.#requestOf(request, random);
    const startedMs = nowMs();
    let response: Exchange['response'];
    try {
      const received = await pool.request({
        method,
        path,
        headers: {
          ...headers,
          'x-request-id': requestId,
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
        body: body ? JSON.stringify(body) : null,
        ...(timeoutMs !== undefined && { headersTimeout: timeoutMs }),
      });
      const text = await received.body.text();
      const value = JSON.parse(text) as { code?: string };
      response = {
        status: received.statusCode,
        code: received.statusCode >= 400 ? value.code : undefined,
        isReplayed: received.headers['idempotent-replayed'] === 'true',
        body: value,
      };
    } catch {
      response = undefined;
    }
    const exchange = { request, requestId, startedMs, endedMs: nowMs(), response };
    this.history.add(exchange);
    return exchange;
  }

  /** Repeats the same request until its response is settled. Undefined: `patienceEndsMs` has passed. */
  sendUntilSettled(request: ClientRequest, random: Random): Promise<Exchange | undefined> {
    return this.sendUntil(request, random, isSettled);
  }

  /** Repeats the same request until it has this response. Undefined: `patienceEndsMs` has passed. */
  async sendUntil(
    request: ClientRequest,
    random: Random,
    isDone: (exchange: Exchange) => boolean,
  ): Promise<Exchange | undefined> {
    for (;;) {
      const exchange = await this.send(request, random);
      if (isDone(exchange)) return exchange;
      this.#forgivePause();
      if (nowMs() > this.patienceEndsMs) {
        this.history.unsettled.push(request);
        return undefined;
      }
      await sleep(random.between(RETRY_MS.least, RETRY_MS.most));
    }
  }

  /** A machine that was suspended tells nothing about how soon the engine responds: this time does not count. */
  #forgivePause(): void {
    const pausedMs = nowMs() - this.#lookedAtMs - LOOK_MS;
    if (pausedMs > PAUSE_MS_MIN) this.patienceEndsMs += pausedMs;
    this.#lookedAtMs = nowMs();
  }

  /** A request to admin outside the model, such as `verify`. */
  async requestAdmin(method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
    const response = await this.#admin.request({
      method,
      path: `/admin/v1${path}`,
      headers: {
        authorization: `Bearer ${this.#endpoints.operatorToken}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : null,
      headersTimeout: 60_000,
    });
    const text = await response.body.text();
    if (response.statusCode >= 300) {
      throw new Error(`${method} ${path} got ${response.statusCode}: ${text}`);
    }
    return JSON.parse(text);
  }

  async close(): Promise<void> {
    clearInterval(this.#looks);
    await Promise.all([...this.#hotPaths, this.#admin].map((pool) => pool.destroy()));
  }

  #requestOf(request: ClientRequest, random: Random): HttpRequest {
    const sale = `/v1/sales/${this.saleId}`;
    switch (request.kind) {
      case 'buy': {
        const http = this.#asBuyer(request, random, 'POST', `${sale}/buy`, {
          items: request.items,
        });
        if (request.key !== undefined) http.headers['idempotency-key'] = request.key;
        return http;
      }
      case 'me':
        return this.#asBuyer(request, random, 'GET', `${sale}/me`);
      case 'read':
        return this.#asBuyer(request, random, 'GET', `/v1/reservations/${request.reservationId}`);
      case 'release': {
        const path = `/v1/reservations/${request.reservationId}/cancel`;
        return this.#asBuyer(request, random, 'POST', path);
      }
      case 'join': {
        const { sku, quantity } = request;
        return this.#asBuyer(request, random, 'POST', `${sale}/waitlist`, { sku, quantity });
      }
      case 'leave':
        return this.#asBuyer(request, random, 'DELETE', `${sale}/waitlist`);
      case 'confirm':
      case 'cancel':
      case 'extend': {
        const { kind, reservationId, ...body } = request;
        return this.#asOperator(`/reservations/${reservationId}/${kind}`, body);
      }
      case 'cancel-part': {
        const { reservationId, key, items, restock } = request;
        const path = `/reservations/${reservationId}/cancel`;
        const http = this.#asOperator(path, { items, ...(restock !== undefined && { restock }) });
        if (key !== undefined) http.headers['idempotency-key'] = key;
        return http;
      }
      case 'stock': {
        const { sku, delta } = request;
        const http = this.#asOperator(`/sales/${this.saleId}/stock`, { sku, delta });
        http.headers['idempotency-key'] = request.key;
        return http;
      }
      case 'move-end': {
        const endsAt = new Date(request.endsAtMs);
        return { ...this.#asOperator(`/sales/${this.saleId}`, { endsAt }), method: 'PATCH' };
      }
      case 'archive':
        return {
          ...this.#asOperator(`/sales/${this.saleId}/archive`),
          timeoutMs: ARCHIVE_TIMEOUT_MS,
        };
      case 'open':
      case 'pause':
      case 'resume':
      case 'end':
        return this.#asOperator(`/sales/${this.saleId}/${request.kind}`);
      default:
        return unreachable(request);
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
    const headers = { authorization: `Bearer ${this.#endpoints.operatorToken}` };
    const request = {
      pool: this.#admin,
      method: 'POST',
      path: `/admin/v1${path}`,
      headers,
    } as const;
    return body ? { ...request, body } : request;
  }
}
