/** The two events of the live stream: the overview of all sales, and the page of one sale. */
import type { Servers } from '../../context.ts';
import type { StoredSale } from '../../sales/sale-store.ts';
import { viewSale } from '../../sales/sale-view.ts';
import type { Reading } from './paced-read.ts';
import { decisionsOf, ProcessReports, rowsOf } from './process-reports.ts';
import { FRESH_MS, SaleReadings } from './sale-readings.ts';

/** Sales that nobody can buy from change rarely. */
const AT_REST_MS = 4_000;
const SILENT = 'no reply for more than a second';

interface ServerState {
  ok: boolean;
  detail: string;
}

export class LiveEvents {
  readonly #shards: Servers['shards'];
  readonly #readings: SaleReadings;
  readonly #reports: ProcessReports;

  constructor(servers: Servers) {
    this.#shards = servers.shards;
    this.#readings = new SaleReadings(servers);
    this.#reports = new ProcessReports(servers);
  }

  async overview(): Promise<object> {
    const [listing, { reports, isCurrent }] = await Promise.all([
      this.#readings.list(),
      this.#reports.read(FRESH_MS),
    ]);
    const { sales, moreSales } = listing.value ?? { sales: [], moreSales: 0 };
    return {
      at: new Date().toISOString(),
      sales: await Promise.all(sales.map((sale) => this.#row(sale))),
      moreSales,
      processes: rowsOf(reports),
      servers: this.#servers(listing, isCurrent),
    };
  }

  /** `gone`: there is no such sale. Undefined: PostgreSQL has never replied. */
  async sale(saleId: string): Promise<object | 'gone' | undefined> {
    const [page, live, { reports, isCurrent }] = await Promise.all([
      this.#readings.page(saleId),
      this.#readings.live(saleId, FRESH_MS),
      this.#reports.read(FRESH_MS),
    ]);
    if (page.value === undefined) return page.isCurrent ? 'gone' : undefined;
    const { sale, state, newest, history } = page.value;
    const { timeline, fence } = 'state' in live ? live.state : history;
    return {
      at: new Date().toISOString(),
      sale: viewSale(this.#shards, sale, sale.archivedAt === null ? live : undefined, state),
      ...decisionsOf(reports, saleId),
      processes: rowsOf(reports),
      servers: this.#servers(page, isCurrent),
      newest,
      history: { ...history, timeline, fence },
    };
  }

  dropUnused(): void {
    this.#readings.dropUnused();
  }

  async #row(sale: StoredSale): Promise<object> {
    const isOpen = sale.status === 'open' && !(sale.endsAt !== null && sale.endsAt < sale.nowMs);
    const live = await this.#readings.live(sale.saleId, isOpen ? FRESH_MS : AT_REST_MS);
    const stored = { progress: undefined, stock: [] };
    const { saleId, name, status, startsAt, endsAt, redis, skus } = viewSale(
      this.#shards,
      sale,
      live,
      stored,
    );
    const sumOf = (field: 'loaded' | 'remaining' | 'held' | 'confirmed' | 'waiting') =>
      skus.some((sku) => sku[field] === null)
        ? null
        : skus.reduce((sum, sku) => sum + sku[field]!, 0);
    return {
      saleId,
      name,
      status,
      startsAt,
      endsAt,
      loaded: sumOf('loaded'),
      remaining: sumOf('remaining'),
      held: sumOf('held'),
      confirmed: sumOf('confirmed'),
      waiting: sumOf('waiting'),
      redis,
    };
  }

  /** `replies`: Redis does, to the read of the reports. A connection is known to be dead only later. */
  #servers(
    stored: Reading<unknown>,
    replies: boolean,
  ): { redis: ServerState; postgres: ServerState } {
    const { isReady, unfitness } = this.#shards;
    const unready = unfitness.length > 0 ? unfitness.join('; ') : 'not every server can be reached';
    const isOk = isReady && replies;
    return {
      redis: { ok: isOk, detail: isOk ? 'ready' : isReady ? SILENT : unready },
      postgres: { ok: stored.isCurrent, detail: stored.isCurrent ? 'ready' : reasonOf(stored) },
    };
  }
}

function reasonOf({ error }: Reading<unknown>): string {
  if (error === undefined) return SILENT;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? `cannot be used: ${code}` : 'a query failed';
}
