/**
 * Buyers on several connections, one after the other, as long as the crowd lasts. A buyer retries at the next hot path
 * only if the connection closed before the first byte of the response. Hot paths must trust `X-Buyer-Id`
 * (`BUYER_AUTH=header`).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ConnectionClosed,
  KeepAliveClient,
  type RawResponse,
} from '../network/keep-alive-client.ts';
import { type Scope, use } from '../use.ts';

/** A hot path that restarts does not listen for a moment. */
const RETRY_MS = 10;
const TRIES_MAX = 200;
/** Between two buyers of a connection. Without it, a crowd would keep every core busy. */
const PAUSE_MS = 5;

export interface Completed {
  buyerId: string;
  response: RawResponse;
  tries: number;
}

type CrowdChoices = ConstructorParameters<typeof SingleRequestCrowd>;

export function useSingleRequestCrowd(
  scope: Scope,
  ...choices: CrowdChoices
): Promise<SingleRequestCrowd> {
  return use(scope, () => new SingleRequestCrowd(...choices));
}

export class SingleRequestCrowd {
  readonly completed: Completed[] = [];
  /** Buyers that received a part of a response, or nothing at all in `TRIES_MAX` tries. */
  readonly lost: string[] = [];
  #isOver = false;
  readonly #buying: Promise<void>;

  /** Each buyer can use the hot paths at all `ports`. */
  constructor(ports: readonly number[], saleId: string, choices: { connections: number }) {
    let buyers = 0;
    const clients = Array.from({ length: choices.connections }, async (_, index) => {
      const hotPaths = ports.map((port) => new KeepAliveClient(port));
      let hotPath = index;
      while (!this.#isOver) {
        const buyerId = `buyer-${++buyers}`;
        hotPath = await this.#buy(hotPaths, hotPath, saleId, buyerId);
        await sleep(PAUSE_MS);
      }
      for (const each of hotPaths) each.close();
    });
    this.#buying = Promise.all(clients).then(() => undefined);
  }

  /** Resolves when every request in flight has completed. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#buying;
  }

  /** Returns the index of the hot path that responded. */
  async #buy(
    hotPaths: readonly KeepAliveClient[],
    first: number,
    saleId: string,
    buyerId: string,
  ): Promise<number> {
    const request = {
      method: 'POST',
      path: `/v1/sales/${saleId}/buy`,
      headers: { 'X-Buyer-Id': buyerId },
    };
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      const at = first + tries - 1;
      try {
        const response = await hotPaths[at % hotPaths.length]!.request(request);
        this.completed.push({ buyerId, response, tries });
        return at;
      } catch (error) {
        if (!(error instanceof ConnectionClosed)) throw error;
        if (error.bytesReceived > 0) break;
        if (tries >= hotPaths.length) await sleep(RETRY_MS);
      }
    }
    this.lost.push(buyerId);
    return first;
  }
}

/** The number of responses by name, e.g. `{ '201': 10, '503 overloaded': 2 }`. */
export function countResponses(completed: readonly Completed[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { response } of completed) {
    const name = responseName(response);
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

/** `201`, or `503 overloaded`. */
export function responseName({ status, body }: RawResponse): string {
  const { code } = JSON.parse(body) as { code?: string };
  return code === undefined ? String(status) : `${status} ${code}`;
}
