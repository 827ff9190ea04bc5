/**
 * Buyers who keep their connections through a proxy, and buy again after a gap. They never retry, so
 * every lost request is seen. Hot paths must trust `X-Buyer-Id` (`BUYER_AUTH=header`).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'undici';
import type { Random } from '../random.ts';
import { type Scope, use } from '../use.ts';

/** Longer than any gap, and shorter than the 60 s for which proxies keep an idle client. */
const KEEP_ALIVE_MS = 50_000;

export interface Lanes {
  count: number;
  /** Bounds of the time between a response and the next request. */
  gapMs: readonly [least: number, most: number];
}

export interface KeptAliveResponse {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

export function useKeptAliveCrowd(
  scope: Scope,
  ...choices: ConstructorParameters<typeof KeptAliveCrowd>
): Promise<KeptAliveCrowd> {
  return use(scope, () => new KeptAliveCrowd(...choices));
}

export class KeptAliveCrowd {
  readonly responses: KeptAliveResponse[] = [];
  /** Requests without a complete response. */
  readonly lost: unknown[] = [];
  /** The connections that were opened: one for each lane, and one more whenever one was closed. */
  connections = 0;
  /** Requests of each lane that have ended. */
  readonly #ended: number[];
  readonly #stopping = new AbortController();
  readonly #buying: Promise<void>;

  constructor(url: string, saleId: string, random: Random, groups: readonly Lanes[]) {
    const lanes = groups.flatMap(({ count, gapMs }) => Array.from({ length: count }, () => gapMs));
    this.#ended = lanes.map(() => 0);
    this.#buying = Promise.all(
      lanes.map((gapMs, lane) => {
        const client = new Client(url, { keepAliveTimeout: KEEP_ALIVE_MS });
        client.on('connect', () => {
          this.connections++;
        });
        const path = `/v1/sales/${saleId}/buy`;
        return this.#buy({ client, path, lane, gapMs, random: random.of(`lane ${lane}`) });
      }),
    ).then(() => undefined);
  }

  /** How many requests every lane has completed. */
  get rounds(): number {
    return Math.min(...this.#ended);
  }

  /** Resolves when every request in flight has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#buying;
  }

  async #buy(buying: {
    client: Client;
    path: string;
    lane: number;
    gapMs: Lanes['gapMs'];
    random: Random;
  }): Promise<void> {
    const { client, path, lane, gapMs, random } = buying;
    const { signal } = this.#stopping;
    for (let purchase = 0; !signal.aborted; purchase++) {
      const headers = { 'x-buyer-id': `buyer-${lane}-${purchase}` };
      try {
        const { statusCode, ...response } = await client.request({ path, method: 'POST', headers });
        const body = await response.body.text();
        this.responses.push({ status: statusCode, headers: response.headers, body });
      } catch (error) {
        this.lost.push(error);
      }
      this.#ended[lane] = purchase + 1;
      await sleep(random.between(...gapMs), undefined, { signal }).catch(() => undefined);
    }
    await client.close();
  }
}
