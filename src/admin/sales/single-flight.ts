/**
 * Sales as Redis has them, for many who ask at once: whoever asks while a reading is under way shares the next one, so
 * that what is told is never older than the question, and however many ask, Redis is asked by one at a time for each sale.
 */
import { type ReadSaleReply, readSale } from '../../lua/read/read-sale.ts';
import type { Shards } from '../../redis/shards.ts';

const bySale = new WeakMap<Shards, Map<string, Readings>>();

interface Readings {
  now: Promise<ReadSaleReply>;
  next: Promise<ReadSaleReply> | undefined;
}

/** Throws what Shards.call throws. */
export function readShared(shards: Shards, saleId: string): Promise<ReadSaleReply> {
  let sales = bySale.get(shards);
  if (!sales) {
    sales = new Map();
    bySale.set(shards, sales);
  }
  const readings = sales.get(saleId);
  if (!readings) return start(shards, sales, saleId);
  const startNext = () => start(shards, sales, saleId);
  readings.next ??= readings.now.then(startNext, startNext);
  return readings.next;
}

function start(
  shards: Shards,
  sales: Map<string, Readings>,
  saleId: string,
): Promise<ReadSaleReply> {
  const readings: Readings = {
    now: shards.call(readSale, saleId).finally(() => {
      if (sales.get(saleId) === readings && !readings.next) sales.delete(saleId);
    }),
    next: undefined,
  };
  sales.set(saleId, readings);
  return readings.now;
}
