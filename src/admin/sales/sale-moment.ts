/** The moment of a sale at which an operator's request is decided: its effective status and the sale's time. */
import { Fault } from '../../domain/fault.ts';
import { effectiveStatus, type SaleDefinition, type SaleStatus } from '../../domain/sale.ts';
import { type ReadSaleReply, readSale } from '../../lua/read/read-sale.ts';
import type { Servers } from '../context.ts';

/** What Redis returned for a sale; undefined: Redis is unavailable, or cannot read the sale. */
export type RedisReading = ReadSaleReply | undefined;

export interface SaleMoment {
  /** The status that buyers see. */
  status: SaleStatus;
  /** The sale's time where Redis has it, PostgreSQL's clock otherwise, ms. */
  nowMs: number;
  /** Redis is available, but the sale is not open on it: a recovery may need units that are still to be loaded. */
  isRecovering: boolean;
}

/** Call it before a transaction: it waits for Redis. */
export async function readFromRedis({ shards }: Servers, saleId: string): Promise<RedisReading> {
  try {
    return await shards.call(readSale, saleId);
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
}

/** Whether a sale with this id is or was on sale in Redis. A draft there may be a deleted one. */
export function hasBeenOpen(reading: RedisReading): boolean {
  if (reading === undefined || !('state' in reading)) return false;
  const { definition, events } = reading.state;
  return definition.status !== 'draft' || events > 0;
}

/**
 * PostgreSQL can have a later end that Redis has not got yet. A sale that has ended in Redis has ended for buyers, and
 * that is final.
 */
export function momentOf(
  sale: SaleDefinition & { archivedAt: Date | null; nowMs: number },
  reading: RedisReading,
): SaleMoment {
  const isRecovering = reading !== undefined && reading.outcome !== 'known';
  const state = reading && 'state' in reading ? reading.state : undefined;
  const nowMs = state?.nowMs ?? sale.nowMs;
  const statuses = [sale, ...(state ? [state.definition] : [])].map((definition) =>
    effectiveStatus(definition, nowMs),
  );
  const hasEnded = sale.archivedAt !== null || statuses.includes('ended');
  return { status: hasEnded ? 'ended' : sale.status, nowMs, isRecovering };
}
