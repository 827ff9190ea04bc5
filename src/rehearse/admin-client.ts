/** The operator's side of a rehearsal: its sale, over the admin API. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../domain/fault.ts';
import { isRehearsal } from '../domain/rehearsal.ts';
import { problemIn, type Reply, type Request, send } from './http.ts';
import type { Settings } from './settings.ts';

export interface SaleSeen {
  saleId: string;
  status: string;
  endsAt: string | null;
  createdAt: string;
  redis: string;
  skus: {
    loaded: number | null;
    remaining: number | null;
    held: number | null;
    confirmed: number | null;
  }[];
  persister: { lag: number | null; events: number | null };
  clock: { differenceMs: number; aheadMs: number } | null;
}

export interface VerifyReport {
  ok: boolean;
  checks: { name: string; ok: boolean; expected: unknown; actual: unknown }[];
}

const REMOVE_MS_MAX = 20_000;
const REMOVE_RETRY_MS = 500;
const VERIFY_MS_MAX = 100_000;

export class AdminClient {
  readonly #url: string;
  readonly #token: string;
  readonly #stopping: AbortSignal;

  constructor({ adminUrl, adminToken }: Settings, stopping: AbortSignal) {
    this.#url = adminUrl;
    this.#token = adminToken;
    this.#stopping = stopping;
  }

  /** Any request, also one that is refused. Throws `server_unfit` if there is no response. */
  send(path: string, request: Request = {}): Promise<Reply> {
    return send(`${this.#url}/admin/v1${path}`, {
      token: this.#token,
      signal: this.#stopping,
      ...request,
    });
  }

  /** Rehearsals that exist: a command that was killed left them, or another one runs. */
  async rehearsals(): Promise<SaleSeen[]> {
    const reply = await this.#expect('/sales?rehearsals=true&limit=100');
    return (reply.body.data as SaleSeen[]).filter(({ saleId }) => isRehearsal(saleId));
  }

  create(sale: object): Promise<Reply> {
    return this.send('/sales', { method: 'POST', body: { ...sale, rehearsal: true } });
  }

  async open(saleId: string): Promise<void> {
    await this.#expect(`/sales/${saleId}/open`, { method: 'POST' });
  }

  async end(saleId: string): Promise<void> {
    await this.#expect(`/sales/${saleId}/end`, { method: 'POST' });
  }

  async view(saleId: string): Promise<SaleSeen> {
    return (await this.#expect(`/sales/${saleId}`)).body;
  }

  async verify(saleId: string): Promise<VerifyReport> {
    const request = { timeoutMs: VERIFY_MS_MAX };
    return (await this.#expect(`/sales/${saleId}/verify`, request)).body;
  }

  /**
   * Also after Ctrl-C, and while admin or Redis restarts. Returns why the sale is still there; undefined: nothing of it
   * remains.
   */
  async remove(saleId: string): Promise<string | undefined> {
    const deadline = performance.now() + REMOVE_MS_MAX;
    for (;;) {
      const reason = await this.#tryRemove(saleId);
      if (reason === undefined || performance.now() > deadline) return reason;
      await sleep(REMOVE_RETRY_MS);
    }
  }

  async #tryRemove(saleId: string): Promise<string | undefined> {
    try {
      const url = `${this.#url}/admin/v1/sales/${saleId}`;
      const reply = await send(url, { method: 'DELETE', token: this.#token });
      return reply.status === 204 || reply.status === 404 ? undefined : problemIn(reply);
    } catch (error) {
      return (error as Error).message;
    }
  }

  async #expect(path: string, request: Request = {}): Promise<Reply> {
    const reply = await this.send(path, request);
    if (reply.status < 300) return reply;
    const { method = 'GET' } = request;
    throw new Fault('server_unfit', `${method} /admin/v1${path} returned ${problemIn(reply)}`);
  }
}
