/** Buyers who press, one after the other on each of several lanes, and press again with the same key until it is yes. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Reply } from '../engine/hot-path.ts';
import { eventually } from '../eventually.ts';

/** Where they press: a hot path of any kind. */
export interface FrontEnd {
  buy(saleId: string, buyer: string, options: { key: string }): Promise<Reply>;
}

const PRESS_AGAIN_MS = 20;
const PATIENCE = { timeoutMs: 30_000 };
const KEY = 'the-only-one';

export class RetryingCrowd {
  /** Who was told yes: the reservation's id by the buyer's. */
  readonly sold = new Map<string, string>();
  /** When each was told, on this process' monotonic clock. */
  readonly soldAt: number[] = [];
  /** How long each had pressed by then. */
  readonly waitsMs: number[] = [];
  /** How often somebody was told to come back. */
  retries = 0;
  readonly #saleId: string;
  readonly #stopping = new AbortController();
  readonly #lanes: Promise<void>[];

  /** Starts at once: as many buyers at a time as `lanes`, taking turns at the front ends. */
  constructor(
    frontEnds: readonly FrontEnd[],
    saleId: string,
    choices: { lanes: number; prefix?: string },
  ) {
    this.#saleId = saleId;
    this.#lanes = Array.from({ length: choices.lanes }, (_, lane) =>
      this.#comeOneByOne(
        frontEnds[lane % frontEnds.length]!,
        `${choices.prefix ?? 'patient'}-${lane}`,
      ),
    );
  }

  /** How long after a moment the first yes came; undefined: not yet. */
  firstSaleAfter(moment: number): number | undefined {
    const at = this.soldAt[this.soldAt.findLastIndex((time) => time <= moment) + 1];
    return at === undefined ? undefined : at - moment;
  }

  /** Nobody new comes; who has not been answered gives up. Throws what any of them was told amiss. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#lanes);
  }

  /** Everybody asks once more and must hear of the same reservation. */
  async assertSameResponses(frontEnd: FrontEnd): Promise<void> {
    assert.deepEqual(await this.differentResponses(frontEnd), []);
  }

  /** Everybody asks once more: what those were told who heard of something else, of another reservation or a refusal. */
  async differentResponses(frontEnd: FrontEnd): Promise<string[]> {
    const buyers = [...this.sold];
    const others: string[] = [];
    const askNext = async () => {
      for (let next = buyers.pop(); next; next = buyers.pop()) {
        const [buyer, reservationId] = next;
        const { body } = await eventually(async () => {
          const reply = await frontEnd.buy(this.#saleId, buyer, { key: KEY });
          assert.notEqual(reply.status, 503, `${buyer} was told ${JSON.stringify(reply.body)}`);
          return reply;
        }, PATIENCE);
        if (body.reservationId !== reservationId) others.push(`${buyer}: ${JSON.stringify(body)}`);
      }
    };
    await Promise.all(Array.from({ length: 50 }, askNext));
    return others;
  }

  async #comeOneByOne(frontEnd: FrontEnd, prefix: string): Promise<void> {
    for (let number = 1; !this.#stopping.signal.aborted; number++) {
      await this.#press(frontEnd, `${prefix}-${number}`);
    }
  }

  async #press(frontEnd: FrontEnd, buyer: string): Promise<void> {
    const cameAt = performance.now();
    while (!this.#stopping.signal.aborted) {
      const { status, body } = await frontEnd.buy(this.#saleId, buyer, { key: KEY });
      if (status < 300) {
        this.sold.set(buyer, body.reservationId);
        const now = performance.now();
        this.soldAt.push(now);
        this.waitsMs.push(now - cameAt);
        return;
      }
      assert.equal(status, 503, `${buyer} was told ${JSON.stringify(body)}`);
      this.retries++;
      await sleep(PRESS_AGAIN_MS);
    }
  }
}
