/** Requests over HTTP to processes of the engine of any version: of buyers (`BUYER_AUTH=header`), and of an operator. */
import { request } from 'undici';
import { TOKENS } from './admin.ts';
import type { EngineProcess } from './engine-process.ts';
import type { Reply } from './hot-path.ts';

type Address = Pick<EngineProcess, 'url'>;

interface Sent {
  /** Sent as JSON. */
  body?: unknown;
  key?: string;
}

/** The environment that lets these clients in. */
export const CLIENT_ENVIRONMENT = {
  BUYER_AUTH: 'header',
  ADMIN_TOKENS: `operator:${TOKENS.operator}`,
};

/** A hot path, as a crowd uses it. */
export class BuyerClient {
  readonly #engine: Address;

  constructor(engine: Address) {
    this.#engine = engine;
  }

  /** `call('GET /v1/sales/phones/me', 'ada')` */
  call(what: string, buyer: string, sent: Sent = {}): Promise<Reply> {
    return send(this.#engine, what, { 'x-buyer-id': buyer }, sent);
  }

  buy(saleId: string, buyer: string, sent: Sent = {}): Promise<Reply> {
    return this.call(`POST /v1/sales/${saleId}/buy`, buyer, sent);
  }
}

/** `callAdminAt(admin, 'POST /sales', { body })`; paths get `/admin/v1`. */
export function callAdminAt(engine: Address, what: string, sent: Sent = {}): Promise<Reply> {
  const authorization = `Bearer ${TOKENS.operator}`;
  return send(engine, what.replace(' ', ' /admin/v1'), { authorization }, sent);
}

async function send(
  { url }: Address,
  what: string,
  headers: Record<string, string>,
  { body, key }: Sent,
): Promise<Reply> {
  const [method, path] = what.split(' ') as ['GET', string];
  const response = await request(url + path, {
    method,
    headers: {
      ...headers,
      ...(key !== undefined && { 'idempotency-key': key }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    body: body === undefined ? null : JSON.stringify(body),
  });
  return {
    status: response.statusCode,
    headers: response.headers as Record<string, string>,
    body: JSON.parse((await response.body.text()) || 'null'),
  };
}
