/** Buyers on several lanes, one after the other. Each repeats its request with the same key until it succeeds. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Reply } from '../engine/hot-path.ts';
import { eventually } from '../eventually.ts';
import { type Scope, use } from '../use.ts';

/** A hot path of any kind, in this process or another. */
export interface HotPathClient {
  buy(saleId: string, buyer: string, options: { key: string }): Promise<Reply>;
}

const RETRY_MS = 20;
const PATIENCE = { timeoutMs: 30_000 };
const KEY = 'the-only-one';
const CHECKS_AT_ONCE = 50;

type CrowdChoices = ConstructorParameters<typeof RetryingCrowd>;

export function useRetryingCrowd(scope: Scope, ...choices: CrowdChoices): Promise<RetryingCrowd> {
  return use(scope, () => new RetryingCrowd(...choices));
}

export class RetryingCrowd {
  /** Acknowledged reservations: the reservation's id by the buyer's. */
  readonly sold = new Map<string, string>();
  /** When each was acknowledged, by this process' monotonic clock. */
  readonly soldAt: number[] = [];
  /** How long each buyer waited for that. */
  readonly waitsMs: number[] = [];
  /** The number of 503 responses. */
  retries = 0;
  readonly #saleId: string;
  readonly #stopping = new AbortController();
  readonly #lanes: Promise<void>[];

  /** Starts immediately, with one buyer at a time in each lane. Lanes are spread over the hot paths. */
  constructor(
    hotPaths: readonly HotPathClient[],
    saleId: string,
    choices: { lanes: number; prefix?: string },
  ) {
    this.#saleId = saleId;
    this.#lanes = Array.from({ length: choices.lanes }, (_, lane) =>
      this.#runLane(hotPaths[lane % hotPaths.length]!, `${choices.prefix ?? 'patient'}-${lane}`),
    );
  }

  /** How long after a moment the next reservation was acknowledged; undefined: not yet. */
  firstSaleAfter(moment: number): number | undefined {
    const at = this.soldAt[this.soldAt.findLastIndex((time) => time <= moment) + 1];
    return at === undefined ? undefined : at - moment;
  }

  /** No buyer comes any more, and no request is repeated. Throws if a buyer got an unexpected response. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#lanes);
  }

  /** Every buyer repeats its request and must get the same reservation. */
  async assertSameResponses(hotPath: HotPathClient): Promise<void> {
    assert.deepEqual(await this.differentResponses(hotPath), []);
  }

  /** Every buyer repeats its request. Returns the responses with another reservation, or with none. */
  async differentResponses(hotPath: HotPathClient): Promise<string[]> {
    const buyers = [...this.sold];
    const different: string[] = [];
    const repeatNext = async () => {
      for (let next = buyers.pop(); next; next = buyers.pop()) {
        const [buyer, reservationId] = next;
        const { body } = await eventually(async () => {
          const reply = await hotPath.buy(this.#saleId, buyer, { key: KEY });
          assert.notEqual(reply.status, 503, `${buyer} got ${JSON.stringify(reply.body)}`);
          return reply;
        }, PATIENCE);
        if (body.reservationId !== reservationId)
          different.push(`${buyer}: ${JSON.stringify(body)}`);
      }
    };
    await Promise.all(Array.from({ length: CHECKS_AT_ONCE }, repeatNext));
    return different;
  }

  async #runLane(hotPath: HotPathClient, prefix: string): Promise<void> {
    for (let number = 1; !this.#stopping.signal.aborted; number++) {
      await this.#buy(hotPath, `${prefix}-${number}`);
    }
  }

  async #buy(hotPath: HotPathClient, buyer: string): Promise<void> {
    const cameAt = performance.now();
    while (!this.#stopping.signal.aborted) {
      const { status, body } = await hotPath.buy(this.#saleId, buyer, { key: KEY });
      if (status < 300) {
        this.sold.set(buyer, body.reservationId);
        const now = performance.now();
        this.soldAt.push(now);
        this.waitsMs.push(now - cameAt);
        return;
      }
      assert.equal(status, 503, `${buyer} got ${JSON.stringify(body)}`);
      this.retries++;
      await sleep(RETRY_MS);
    }
  }
}
