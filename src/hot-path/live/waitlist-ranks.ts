/**
 * Places in line, for those who wait and are connected here. Each time that somebody ahead leaves or is served,
 * everybody behind moves up; telling them each time would be a storm. So the line is looked at in rounds: at most one
 * a second and sale, only when the sale has changed, few buyers to a call and one call at a time. However long the
 * line and however fast it moves, Redis spends less than one call's time on this process at any moment.
 */
import type { Logger } from 'pino';
import { readWaitlistRanks, type WaitlistQuery } from '../../lua/read/read-waitlist-ranks.ts';
import type { Shards } from '../../redis/shards.ts';
import type { SaleView } from '../sales/sale-views.ts';
import type { LiveClient } from './client.ts';

const ROUND_INTERVAL_MS = 1_000;
/** One who leaves and one who joins between two readings of the sale look like nothing; this finds them. */
const ROUND_ANYWAY_MS = 5_000;
/** Some hundred microseconds of Redis' time. */
const ASKED_MAX = 200;

export interface WaitlistRoom {
  saleId: string;
  /** Clients by buyer. */
  clients: ReadonlyMap<string, ReadonlySet<LiveClient>>;
  /** Waited and is in line no more. */
  vanished(client: LiveClient): void;
}

export class WaitlistRanks {
  readonly #watch: WaitlistRoom;
  readonly #shards: Shards;
  readonly #log: Logger;
  #isReading = false;
  #startedAt = Number.NEGATIVE_INFINITY;
  /** What of the sale moves places, as it was when last looked at. */
  #mark = '';
  #isDue = false;

  constructor(watch: WaitlistRoom, shards: Shards, log: Logger) {
    this.#watch = watch;
    this.#shards = shards;
    this.#log = log;
  }

  /** Begins a round, if one is due. */
  look(view: SaleView): void {
    const mark = `${view.state.events} ${view.state.stock.map(({ waiting }) => waiting).join()}`;
    this.#isDue ||= mark !== this.#mark;
    this.#mark = mark;
    const age = performance.now() - this.#startedAt;
    if (this.#isReading || age < (this.#isDue ? ROUND_INTERVAL_MS : ROUND_ANYWAY_MS)) return;
    this.#isDue = false;
    const asked = this.#asked(view);
    if (asked.length === 0) return;
    this.#startedAt = performance.now();
    this.#isReading = true;
    void this.#readAll(asked)
      .catch((error: unknown) => {
        this.#isDue = true;
        this.#log.debug({ saleId: this.#watch.saleId, err: error }, 'places were not read');
      })
      .finally(() => {
        this.#isReading = false;
      });
  }

  /** Every buyer here for every SKU that has a line, and for what they were told that they wait for. */
  #asked(view: SaleView): WaitlistQuery[] {
    const lines = view.state.stock.filter(({ waiting }) => waiting > 0).map(({ sku }) => sku);
    const asked: WaitlistQuery[] = [];
    for (const [buyerId, clients] of this.#watch.clients) {
      const skus = new Set(lines);
      for (const { waitsFor } of clients) for (const sku of waitsFor) skus.add(sku);
      for (const sku of skus) asked.push({ buyerId, sku });
    }
    return asked;
  }

  async #readAll(asked: WaitlistQuery[]): Promise<void> {
    const { saleId } = this.#watch;
    for (let from = 0; from < asked.length; from += ASKED_MAX) {
      const some = asked.slice(from, from + ASKED_MAX);
      const askedAt = performance.now();
      const reply = await this.#shards.call(readWaitlistRanks, saleId, some);
      if (reply.outcome !== 'known') {
        this.#isDue = true;
        return;
      }
      for (const [i, { buyerId, sku }] of some.entries()) {
        const { quantity, place } = reply.ranks[i]!;
        for (const client of this.#watch.clients.get(buyerId) ?? []) {
          if (place > 0) client.tellPlace({ sku, quantity, place }, askedAt);
          else if ([...client.waitsFor].includes(sku)) this.#watch.vanished(client);
        }
      }
    }
  }
}
