/** What the dashboard reads of sales: once for all viewers, of the overview and of the sale's own page alike. */
import { REHEARSALS_LIKE } from '../../../domain/rehearsal.ts';
import { type ReadSaleReply, readSale } from '../../../lua/read/read-sale.ts';
import { Semaphore } from '../../../process/semaphore.ts';
import type { Servers } from '../../context.ts';
import { rowToJson } from '../../http/outcome.ts';
import { listReservations, type ReservationRow } from '../../reservations/reservation-queries.ts';
import { findSale, listSales, type StoredSale } from '../../sales/sale-store.ts';
import {
  type LiveSale,
  readStoredState,
  type StoredState,
  unreadable,
} from '../../sales/sale-view.ts';
import { readHistory, type SaleHistory } from '../history.ts';
import { PacedRead, type Reading } from './paced-read.ts';

/** Slightly less than the time between two events, so that each event has new numbers. */
export const FRESH_MS = 450;
const SALES_LISTED_MAX = 200;
const NEWEST_RESERVATIONS = 10;
/** Connections to PostgreSQL that dashboards use at most; the others are for merchants and operators. */
const POSTGRES_READS_MAX = 3;
const UNUSED_MS = 10_000;

/** Everything that PostgreSQL has of a sale for its page. */
export interface StoredPage {
  sale: StoredSale;
  state: StoredState;
  newest: ReturnType<typeof rowToJson<ReservationRow>>[];
  history: SaleHistory;
}

export class SaleReadings {
  readonly #servers: Servers;
  readonly #permits = new Semaphore(POSTGRES_READS_MAX);
  readonly #live = new Map<string, PacedRead<ReadSaleReply>>();
  readonly #pages = new Map<string, PacedRead<StoredPage | undefined>>();
  readonly #list = new PacedRead(() => this.#permits.run(() => this.#readList()));

  constructor(servers: Servers) {
    this.#servers = servers;
  }

  /** From Redis. */
  async live(saleId: string, ageMsMax: number): Promise<LiveSale> {
    const { shards } = this.#servers;
    const read = kept(this.#live, saleId, () => shards.call(readSale, saleId));
    const { value, isCurrent, error } = await read.get(ageMsMax);
    if (error !== undefined) return unreadable(error);
    return isCurrent && value ? value : { outcome: 'unavailable' };
  }

  /** From PostgreSQL. A current reading without a value: there is no such sale. */
  page(saleId: string): Promise<Reading<StoredPage | undefined>> {
    const read = () => this.#permits.run(() => this.#readPage(saleId));
    return kept(this.#pages, saleId, read).get(FRESH_MS);
  }

  /** The newest sales that are not archived, and how many more there are. */
  list(): Promise<Reading<{ sales: StoredSale[]; moreSales: number }>> {
    return this.#list.get(FRESH_MS);
  }

  /** Drops what nobody has looked at for a while. */
  dropUnused(): void {
    const oldest = performance.now() - UNUSED_MS;
    for (const reads of [this.#live, this.#pages])
      for (const [saleId, { usedMs }] of reads) if (usedMs < oldest) reads.delete(saleId);
  }

  async #readPage(saleId: string): Promise<StoredPage | undefined> {
    const { sql } = this.#servers;
    // One after another: a page uses one connection.
    const sale = await findSale(sql, saleId);
    const history = sale && (await readHistory(sql, saleId));
    if (!history) return undefined;
    const states = await readStoredState({ sql }, [sale]);
    const newest = await listReservations(
      sql,
      { saleId },
      { after: undefined, rowsMax: NEWEST_RESERVATIONS },
    );
    return { sale, state: states.get(saleId)!, newest: newest.map(rowToJson), history };
  }

  async #readList(): Promise<{ sales: StoredSale[]; moreSales: number }> {
    const { sql } = this.#servers;
    const rows = { after: undefined, rowsMax: SALES_LISTED_MAX };
    const sales = await listSales(sql, rows, { isArchived: false, isRehearsal: false });
    if (sales.length < SALES_LISTED_MAX) return { sales, moreSales: 0 };
    const [row] = await sql<{ count: number }[]>`
      SELECT count(*) FROM sales WHERE archived_at IS NULL AND sale_id NOT LIKE ${REHEARSALS_LIKE}`;
    return { sales, moreSales: Math.max(0, row!.count - sales.length) };
  }
}

function kept<Value>(
  reads: Map<string, PacedRead<Value>>,
  saleId: string,
  read: () => Promise<Value>,
): PacedRead<Value> {
  let known = reads.get(saleId);
  if (!known) {
    known = new PacedRead(read);
    reads.set(saleId, known);
  }
  return known;
}
