/**
 * Buyers who press, one after the other on each of several connections, as long as the crowd lasts. A buyer asks again
 * only when the connection was closed before a byte of the answer had come, then at the next front end; whatever is
 * answered is final. Front ends believe `X-Buyer-Id` (`BUYER_AUTH=header`).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ConnectionClosed,
  KeepAliveClient,
  type RawResponse,
} from '../network/keep-alive-client.ts';

/** Nobody may be listening for a moment. */
const TRY_AGAIN_MS = 10;
const TRIES_MAX = 200;

export interface Completed {
  buyerId: string;
  response: RawResponse;
  tries: number;
}

export class SingleRequestCrowd {
  readonly completed: Completed[] = [];
  /** Whoever heard a part of an answer, or nothing at all in so many tries. */
  readonly lost: string[] = [];
  #isOver = false;
  readonly #buying: Promise<void>;

  /** `ports` are the front ends that each of them knows. */
  constructor(ports: readonly number[], saleId: string, choices: { connections: number }) {
    let buyers = 0;
    const clients = Array.from({ length: choices.connections }, async (_, index) => {
      const fronts = ports.map((port) => new KeepAliveClient(port));
      let front = index;
      while (!this.#isOver) {
        const buyerId = `buyer-${++buyers}`;
        front = await this.#buy(fronts, front, saleId, buyerId);
      }
      for (const each of fronts) each.close();
    });
    this.#buying = Promise.all(clients).then(() => undefined);
  }

  /** Resolves when everybody who has pressed has been completed. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#buying;
  }

  /** Returns where it was answered. */
  async #buy(
    fronts: readonly KeepAliveClient[],
    first: number,
    saleId: string,
    buyerId: string,
  ): Promise<number> {
    const asked = {
      method: 'POST',
      path: `/v1/sales/${saleId}/buy`,
      headers: { 'X-Buyer-Id': buyerId },
    };
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      const at = first + tries - 1;
      try {
        const response = await fronts[at % fronts.length]!.request(asked);
        this.completed.push({ buyerId, response, tries });
        return at;
      } catch (error) {
        if (!(error instanceof ConnectionClosed)) throw error;
        if (error.bytesReceived > 0) break;
        if (tries >= fronts.length) await sleep(TRY_AGAIN_MS);
      }
    }
    this.lost.push(buyerId);
    return first;
  }
}

/** How often each answer was given, e.g. `{ '201': 10, '503 overloaded': 2 }`. */
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
