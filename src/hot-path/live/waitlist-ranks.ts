/**
 * The ranks of connected buyers on the waitlists of a sale. Each departure changes the ranks of all buyers behind it, so
 * sending every change would flood the clients. Ranks are read in rounds instead: at most one round a second per sale,
 * and only if the sale has changed. A call reads few buyers, and there is one call at a time. The load on Redis is
 * therefore at most one call at any moment, for waitlists of any length.
 */
import type { Logger } from 'pino';
import { effectiveStatus } from '../../domain/sale.ts';
import { readWaitlistRanks, type WaitlistQuery } from '../../lua/read/read-waitlist-ranks.ts';
import type { Shards } from '../../redis/shards.ts';
import { redisNowMs, type SaleView } from '../sales/sale-views.ts';
import type { LiveClient } from './client.ts';

const ROUND_INTERVAL_MS = 1_000;
/** Also without a visible change: a departure and an arrival between two views of the sale cancel out. */
const UNCONDITIONAL_INTERVAL_MS = 5_000;
/** A call takes Redis a few hundred microseconds. */
const QUERIES_PER_CALL_MAX = 200;

export interface RankRecipients {
  saleId: string;
  /** By buyer. */
  clients: ReadonlyMap<string, ReadonlySet<LiveClient>>;
  /** The client was on a waitlist and no longer is. */
  onLeft(client: LiveClient): void;
}

export class WaitlistRanks {
  readonly #recipients: RankRecipients;
  readonly #shards: Shards;
  readonly #log: Logger;
  #isReading = false;
  #startedAt = Number.NEGATIVE_INFINITY;
  /** The state of the sale that ranks depend on, at the last check. */
  #checkedState = '';
  #isDue = false;

  constructor(recipients: RankRecipients, shards: Shards, log: Logger) {
    this.#recipients = recipients;
    this.#shards = shards;
    this.#log = log;
  }

  /** Starts a round if one is due. */
  update(view: SaleView): void {
    const { definition, events } = view.state;
    const status = effectiveStatus(definition, redisNowMs(view));
    const state = `${status} ${events} ${view.state.stock.map(({ waiting }) => waiting).join()}`;
    this.#isDue ||= state !== this.#checkedState;
    this.#checkedState = state;
    const age = performance.now() - this.#startedAt;
    if (this.#isReading || age < (this.#isDue ? ROUND_INTERVAL_MS : UNCONDITIONAL_INTERVAL_MS))
      return;
    this.#isDue = false;
    const queries = this.#queriesOf(view);
    if (queries.length === 0) return;
    this.#startedAt = performance.now();
    this.#isReading = true;
    void this.#readAll(queries)
      .catch((error: unknown) => {
        this.#isDue = true;
        this.#log.debug({ saleId: this.#recipients.saleId, err: error }, 'waitlist ranks not read');
      })
      .finally(() => {
        this.#isReading = false;
      });
  }

  /** All connected buyers for all SKUs with a waitlist, and for the waitlists that they were on. */
  #queriesOf(view: SaleView): WaitlistQuery[] {
    const waitlisted = view.state.stock.filter(({ waiting }) => waiting > 0).map(({ sku }) => sku);
    const queries: WaitlistQuery[] = [];
    for (const [buyerId, clients] of this.#recipients.clients) {
      const skus = new Set(waitlisted);
      for (const { waitlistedSkus } of clients) for (const sku of waitlistedSkus) skus.add(sku);
      for (const sku of skus) queries.push({ buyerId, sku });
    }
    return queries;
  }

  async #readAll(queries: WaitlistQuery[]): Promise<void> {
    const { saleId } = this.#recipients;
    for (let from = 0; from < queries.length; from += QUERIES_PER_CALL_MAX) {
      const page = queries.slice(from, from + QUERIES_PER_CALL_MAX);
      const readAt = performance.now();
      const reply = await this.#shards.call(readWaitlistRanks, saleId, page);
      if (reply.outcome !== 'known') {
        this.#isDue = true;
        return;
      }
      for (const [i, { buyerId, sku }] of page.entries()) {
        const { quantity, place: rank } = reply.ranks[i]!;
        for (const client of this.#recipients.clients.get(buyerId) ?? []) {
          if (rank > 0) client.sendRank({ sku, quantity, place: rank }, readAt);
          else if ([...client.waitlistedSkus].includes(sku)) this.#recipients.onLeft(client);
        }
      }
    }
  }
}
