/**
 * What a hot path or persister reports about itself, and its text in Redis. The counts are cumulative since the process
 * began to count a sale; `InWindow` are those of the last second, which the process itself has timed.
 */
import { z } from 'zod';

/** A reader ignores other formats: they belong to processes of another version. */
const FORMAT = 1;
const BYTES_MAX = 4_096;
/** By which `moreSales` can become longer. */
const MORE_DIGITS = 4;

const count = z.number().min(0);

const saleCountersSchema = z.object({
  saleId: z.string(),
  /** When the process began to count this sale, ms by its clock. Another value: the counts began again at 0. */
  since: count,
  windowMs: z.number().positive(),
  /** By outcome: in total and in the window. */
  outcomes: z.record(z.string(), z.tuple([count, count])),
  /** Those of them that the process decided without a call to Redis. */
  withoutRedis: z.tuple([count, count]),
  /** See latency-buckets.ts. Absent: left out, because the text would be too long. */
  latency: z
    .object({
      /** Of the last seconds, and the longest of them. */
      recent: z.string(),
      recentMaxMs: count,
      all: z.string(),
    })
    .optional(),
});
export type SaleCounters = z.infer<typeof saleCountersSchema>;

const processCountersSchema = z.object({
  format: z.literal(FORMAT),
  process: z.enum(['hot-path', 'persister']),
  /** Random, different after each start. */
  id: z.string(),
  pid: z.int(),
  host: z.string(),
  startedAt: count,
  /** The version of the engine. */
  version: z.string(),
  ready: z.boolean(),
  /** Share of one core. */
  cpu: count,
  /** Share of the time that the event loop was busy. */
  loopUtilization: count,
  /** Persister: events in Redis that PostgreSQL does not have, of the sales that it drains. */
  backlogRows: count.optional(),
  /** Hot path: open connections, and open WebSockets. */
  connections: count.optional(),
  liveSubscribers: count.optional(),
  /** Of the server that the text is on, the most active first. */
  sales: z.array(saleCountersSchema),
  /** Sales that are left out, because the text would be too long. */
  moreSales: count,
});
type StoredCounters = z.infer<typeof processCountersSchema>;
export type ProcessCounters = Omit<StoredCounters, 'format'>;

export type SaleReport = Pick<ProcessCounters, 'sales' | 'moreSales'>;

/** At most 4 KiB: of sales that do not fit, first the latency is left out, then the counts. */
export function encodeCounters(counters: ProcessCounters): string {
  const stored: StoredCounters = { format: FORMAT, ...counters, sales: [] };
  let left = BYTES_MAX - Buffer.byteLength(JSON.stringify(stored)) - MORE_DIGITS;
  for (const sale of counters.sales) {
    const { latency: _latency, ...counts } = sale;
    const fitting = [sale, counts].find((each) => sizeOf(each) <= left);
    if (!fitting) {
      stored.moreSales += 1;
      continue;
    }
    left -= sizeOf(fitting);
    stored.sales.push(fitting);
  }
  return JSON.stringify(stored);
}

/** With the comma in front of it. */
function sizeOf(sale: SaleCounters): number {
  return JSON.stringify(sale).length + 1;
}

/** Undefined: it is of another format. */
export function decodeCounters(text: string): ProcessCounters | undefined {
  try {
    const { format: _format, ...counters } = processCountersSchema.parse(JSON.parse(text));
    return counters;
  } catch {
    return undefined;
  }
}
