/** The operators' view of a sale: the definition from PostgreSQL with the current counts from Redis, or of its archive. */
import { Fault } from '../../domain/fault.ts';
import { type SkuStock, tooFewForWaitlist, waitlistHoldSecondsOf } from '../../domain/sale.ts';
import { type ReadSaleReply, readSale } from '../../lua/read/read-sale.ts';
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
  const archived = sales.filter(({ archivedAt }) => archivedAt !== null);
  const archivedStock = await readArchivedStock(
    servers.sql,
    archived.map(({ saleId }) => saleId),
  );
  // Redis first: a checkpoint that is read later can only be newer, so the lag is never overstated.
  const live = await Promise.all(
    sales.map(
      async ({ saleId, archivedAt }): Promise<Live> =>
        archivedAt === null
          ? readCounts(reader, saleId)
          : { outcome: 'archived', stock: archivedStock.get(saleId) ?? [] },
    ),
  );
  const progress = await readProgress(
    servers,
    sales.map(({ saleId }) => saleId),
  );
  return sales.map((sale, index) => ({
    ...viewSale(sale, live[index]!, progress.get(sale.saleId)),
    clock: clockOf(servers.shards, sale.saleId, live[index]!),
  }));
}

type Live =
  | ReadSaleReply
  | { outcome: 'unavailable' | 'damaged' }
  | { outcome: 'archived'; stock: readonly SkuStock[] };

const REDIS_STATES: Record<Live['outcome'], SaleJson['redis']> = {
  known: 'known',
  recovering: 'recovering',
  damaged: 'recovering',
  unknown_sale: 'unknown',
  unavailable: 'away',
  archived: 'archived',
};

/** Without Redis, the view shows what PostgreSQL has. */
async function readCounts(reader: SaleReader, saleId: string): Promise<Live> {
  try {
    return await reader.fresh(saleId);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    // Damaged: a persister rebuilds it.
    const isDamaged = error.code === 'reply_malformed' || error.code === 'script_failed';
    return { outcome: isDamaged ? 'damaged' : 'unavailable' };
  }
}

async function readProgress(
  { sql }: Servers,
  saleIds: readonly string[],
): Promise<Map<string, Progress>> {
  const rows = await sql<Progress[]>`
    SELECT sale_id, entry_ms, entry_sequence, event, checkpoints.updated_at AS checkpoint_at,
      (SELECT count(*) FROM sale_operations o WHERE o.sale_id = sales.sale_id AND outcome = 'pending') AS pending
    FROM sales LEFT JOIN checkpoints USING (sale_id)
    WHERE sale_id = ANY(${sql.array([...saleIds])})`;
  return new Map(rows.map((row) => [row.saleId, row]));
}

function clockOf(shards: Shards, saleId: string, live: Live): SaleJson['clock'] {
  const clock = 'state' in live ? shards.of(saleId).clock : undefined;
  if (!clock || !('state' in live)) return null;
  const { differenceMs, lastJump } = clock;
  const noticedAt = lastJump && new Date(lastJump.noticedAt).toISOString();
  return {
    aheadMs: live.state.aheadMs,
    differenceMs,
    lastJump: lastJump && noticedAt ? { ms: lastJump.ms, noticedAt } : null,
  };
}

function viewSale(
  sale: StoredSale,
  live: Live,
  progress: Progress | undefined,
): Omit<SaleJson, 'clock'> {
  const state = 'state' in live ? live.state : undefined;
  const isArchived = live.outcome === 'archived';
  const stock = isArchived ? live.stock : state?.stock;
  const events = isArchived ? (progress?.event ?? 0) : state?.events;
  const counts = new Map(stock?.map((each) => [each.sku, each]));
  return {
    saleId: sale.saleId,
    name: sale.name,
    status: momentOf(sale, 'isForgotten' in live || 'state' in live ? live : undefined).status,
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
    redis: REDIS_STATES[live.outcome],
    persister: {
      lag: events === undefined ? null : Math.max(0, events - (progress?.event ?? 0)),
      events: events ?? null,
      checkpoint: checkpointOf(progress),
    },
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
