/** Single requests of a rehearsal, each with the times at which it was sent and its response was received. */
import { Fault } from '../domain/fault.ts';

const TIMEOUT_MS = 10_000;

export interface Reply {
  status: number;
  headers: Headers;
  /** Parsed if it is JSON, otherwise text. */
  // Any JSON: each caller checks what it uses.
  // oxlint-disable-next-line typescript/no-explicit-any
  body: any;
  /** By this machine's clock, ms. */
  sentAtMs: number;
  receivedAtMs: number;
  tookMs: number;
}

export interface Request {
  method?: string;
  token?: string | undefined;
  headers?: Record<string, string>;
  body?: object;
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Throws `server_unfit` with a reason for people if there is no response. */
export async function send(url: string, request: Request = {}): Promise<Reply> {
  const { method = 'GET', token, headers = {}, body, timeoutMs = TIMEOUT_MS, signal } = request;
  const timeout = AbortSignal.timeout(timeoutMs);
  const startedAt = performance.now();
  const sentAtMs = Date.now();
  try {
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...headers,
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: signal ? AbortSignal.any([timeout, signal]) : timeout,
    });
    // The times are those of the first byte: a long body says nothing about clocks.
    const [receivedAtMs, tookMs] = [Date.now(), performance.now() - startedAt];
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && text !== '' ? JSON.parse(text) : text,
      sentAtMs,
      receivedAtMs,
      tookMs,
    };
  } catch (error) {
    if (signal?.aborted) throw error;
    const { origin } = new URL(url);
    const reason = timeout.aborted ? `no response within ${ms(timeoutMs)}` : reasonOf(error);
    throw new Fault('server_unfit', `${origin} is unreachable: ${reason}`, { cause: error });
  }
}

/** What a problem response says: its code and detail, or the beginning of another body. */
export function problemIn({ status, body }: Reply): string {
  if (typeof body === 'object' && body?.code) {
    const fields = (body.errors ?? []) as { field: string; message: string }[];
    const errors = fields.map(({ field, message }) => `${field} ${message}`).join('; ');
    return `${status} ${body.code}: ${errors || body.detail || body.title}`;
  }
  return `${status} ${typeof body === 'string' ? body.slice(0, 120) : ''}`.trim();
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const { code, message } = (cause ?? error) as { code?: string; message?: string };
  return code ?? message ?? String(error);
}

function ms(value: number): string {
  return `${value / 1_000} s`;
}
