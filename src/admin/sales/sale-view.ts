/** The operators' view of a sale: the definition from PostgreSQL with the current counts from Redis, or of its archive. */
import { Fault } from '../../domain/fault.ts';
import { type SkuStock, tooFewForWaitlist, waitlistHoldSecondsOf } from '../../domain/sale.ts';
import { type ReadSaleReply, readSale, type SaleState } from '../../lua/read/read-sale.ts';
import { readArchivedStock } from '../../postgres/archived-stock.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Servers } from '../context.ts';
import { SingleFlight } from '../http/single-flight.ts';
import { momentOf } from './sale-moment.ts';
import type { SaleJson } from './sale-schemas.ts';
import type { StoredSale } from './sale-store.ts';

interface Progress {
  saleId: string;
  entryMs: number | null;
  entrySequence: number | null;
  event: number | null;
  checkpointAt: Date | null;
  pending: number;
}

/** Reads sales from Redis. Its rejections are those of Shards.call. */
export type SaleReader = SingleFlight<ReadSaleReply>;

export function createSaleReader(shards: Shards): SaleReader {
  return new SingleFlight((saleId) => shards.call(readSale, saleId));
}

export async function viewSales(
  servers: Servers,
  reader: SaleReader,
  sales: readonly StoredSale[],
): Promise<SaleJson[]> {
  // Redis first: a checkpoint that is read later can only be newer, so the lag is never overstated.
  const live = await Promise.all(
    sales.map(async ({ saleId, archivedAt }) =>
      archivedAt === null ? readCounts(reader, saleId) : undefined,
    ),
  );
  const stored = await readStoredState(servers, sales);
  return sales.map((sale, index) =>
    viewSale(servers.shards, sale, live[index], stored.get(sale.saleId)!),
  );
}

/** What Redis has of a sale. */
export type LiveSale = ReadSaleReply | { outcome: 'unavailable' | 'damaged' };

const REDIS_STATES: Record<LiveSale['outcome'], SaleJson['redis']> = {
  known: 'known',
  recovering: 'recovering',
  damaged: 'recovering',
  unknown_sale: 'unknown',
  unavailable: 'away',
};

/** Without Redis, the view shows what PostgreSQL has. */
async function readCounts(reader: SaleReader, saleId: string): Promise<LiveSale> {
  try {
    return await reader.fresh(saleId);
  } catch (error) {
    return unreadable(error);
  }
}

/** Throws what is no fault of a call. */
export function unreadable(error: unknown): LiveSale {
  if (!(error instanceof Fault)) throw error;
  // Damaged: a persister rebuilds it.
  const isDamaged = error.code === 'reply_malformed' || error.code === 'script_failed';
  return { outcome: isDamaged ? 'damaged' : 'unavailable' };
}

/** What PostgreSQL has of a sale beside its definition. */
export interface StoredState {
  progress: Progress | undefined;
  /** The stock of an archived sale. */
  stock: readonly SkuStock[];
}

export async function readStoredState(
  servers: Pick<Servers, 'sql'>,
  sales: readonly StoredSale[],
): Promise<Map<string, StoredState>> {
  const archived = sales.filter(({ archivedAt }) => archivedAt !== null);
  const stock = await readArchivedStock(
    servers.sql,
    archived.map(({ saleId }) => saleId),
  );
  const progress = await readProgress(
    servers,
    sales.map(({ saleId }) => saleId),
  );
  return new Map(
    sales.map(({ saleId }) => [
      saleId,
      { progress: progress.get(saleId), stock: stock.get(saleId) ?? [] },
    ]),
  );
}

async function readProgress(
  { sql }: Pick<Servers, 'sql'>,
  saleIds: readonly string[],
): Promise<Map<string, Progress>> {
  const rows = await sql<Progress[]>`
    SELECT sale_id, entry_ms, entry_sequence, event, checkpoints.updated_at AS checkpoint_at,
      (SELECT count(*) FROM sale_operations o WHERE o.sale_id = sales.sale_id AND outcome = 'pending') AS pending
    FROM sales LEFT JOIN checkpoints USING (sale_id)
    WHERE sale_id = ANY(${sql.array([...saleIds])})`;
  return new Map(rows.map((row) => [row.saleId, row]));
}

function clockOf(shards: Shards, saleId: string, state: SaleState | undefined): SaleJson['clock'] {
  const clock = state && shards.of(saleId).clock;
  if (!clock || !state) return null;
  const { differenceMs, lastJump } = clock;
  const noticedAt = lastJump && new Date(lastJump.noticedAt).toISOString();
  return {
    aheadMs: state.aheadMs,
    differenceMs,
    lastJump: lastJump && noticedAt ? { ms: lastJump.ms, noticedAt } : null,
  };
}

function readingOf(live: LiveSale | undefined): ReadSaleReply | undefined {
  return live && ('isForgotten' in live || 'state' in live) ? live : undefined;
}

/** `live` is undefined for an archived sale. */
export function viewSale(
  shards: Shards,
  sale: StoredSale,
  live: LiveSale | undefined,
  { progress, stock: archivedStock }: StoredState,
): SaleJson {
  const state = live && 'state' in live ? live.state : undefined;
  const isArchived = live === undefined;
  const stock = isArchived ? archivedStock : state?.stock;
  const events = isArchived ? (progress?.event ?? 0) : state?.events;
  const counts = new Map(stock?.map((each) => [each.sku, each]));
  return {
    saleId: sale.saleId,
    name: sale.name,
    status: momentOf(sale, readingOf(live)).status,
    currency: sale.currency,
    startsAt: isoTime(sale.startsAt),
    endsAt: isoTime(sale.endsAt),
    perBuyerLimit: sale.perBuyerLimit,
    holdSeconds: sale.holdSeconds,
    waitlistHoldSeconds: waitlistHoldSecondsOf(sale),
    skus: sale.skus.map(({ sku, name, price, perBuyerLimit }) => {
      const count = counts.get(sku);
      return {
        sku,
        name,
        price,
        perBuyerLimit: perBuyerLimit ?? null,
        loaded: count?.loaded ?? null,
        remaining: count?.remaining ?? null,
        held: count?.held ?? null,
        confirmed: count?.confirmed ?? null,
        waiting: count?.waiting ?? null,
        tooFewForWaitlist: count ? tooFewForWaitlist(count) : null,
      };
    }),
    createdAt: sale.createdAt.toISOString(),
    updatedAt: sale.updatedAt.toISOString(),
    archivedAt: sale.archivedAt?.toISOString() ?? null,
    redis: isArchived ? 'archived' : REDIS_STATES[live.outcome],
    persister: {
      lag: events === undefined ? null : Math.max(0, events - (progress?.event ?? 0)),
      events: events ?? null,
      checkpoint: checkpointOf(progress),
    },
    clock: clockOf(shards, sale.saleId, state),
    pendingOperations: progress?.pending ?? 0,
  };
}

function checkpointOf(progress: Progress | undefined): SaleJson['persister']['checkpoint'] {
  if (!progress?.checkpointAt) return null;
  return {
    event: progress.event ?? 0,
    entryId: `${progress.entryMs}-${progress.entrySequence}`,
    updatedAt: progress.checkpointAt.toISOString(),
  };
}

function isoTime(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
