/** `flash-sale trace`: one request from its decision to its row and its webhooks. */
import { readServersConfig } from '../../config.ts';
import { Fault } from '../../domain/fault.ts';
import { REQUEST_ID, SALE_ID } from '../../domain/identifiers.ts';
import { connectPostgres, requirePostgres, type Sql } from '../../postgres/connection.ts';
import { createLogger } from '../../process/logger.ts';
import { Shards } from '../../redis/shards.ts';
import { durationMs } from '../duration.ts';
import { untilReady } from '../verify.ts';
import { inOrder, printableTrace, type Trace } from './moment.ts';
import { readStored, type Search } from './stored.ts';
import { readUndrained } from './undrained.ts';

export interface TraceOptions {
  sale?: string;
  /** Such as 24h or 7d: how far back to search. */
  since: string;
  json: boolean;
}

/** PostgreSQL has most answers. */
const REDIS_READY_MS_MAX = 2_000;
const QUERY_CANCELED = '57014';

/**
 * True if anything was found. Throws `config_invalid` for wrong arguments and `server_unfit` without PostgreSQL; without
 * Redis the output says so.
 */
export async function runTrace(requestId: string, options: TraceOptions): Promise<boolean> {
  const search = searchOf(requestId, options);
  const config = readServersConfig(process.env);
  const sql = connectPostgres(config.DATABASE_URL, { process: 'trace', connectionsMax: 2 });
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'trace',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log: createLogger('trace', 'silent'),
    onUnfit: () => undefined,
  });
  try {
    await requirePostgres(sql);
    const trace = await readTrace(sql, shards, search);
    const isFound = trace.moments.length > 0;
    if (options.json) console.log(JSON.stringify(trace, null, 2));
    else if (isFound) console.log(printableTrace(trace));
    if (!isFound) console.error(notFound(search, trace.notes));
    return isFound;
  } finally {
    shards.close();
    await sql.end({ timeout: 2 });
  }
}

/** The events of Redis are read first: what becomes a row between the two readings is then found twice, never missed. */
async function readTrace(sql: Sql, shards: Shards, search: Search): Promise<Trace> {
  const notes: string[] = [];
  const undrained = await untilReady(shards, REDIS_READY_MS_MAX)
    .then(() => readUndrained(sql, shards, search))
    .catch((error: unknown) => {
      notes.push(`Redis was not read: ${(error as Error).message}`);
      return { moments: [], traceparents: [], notes: [] };
    });
  const stored = await readStored(sql, search).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== QUERY_CANCELED) throw error;
    throw new Fault(
      'config_invalid',
      'PostgreSQL did not find the request within 60 s. Name its sale with --sale, or a shorter time with --since.',
    );
  });
  if (stored.isCut) notes.push('Many decisions have this request id; only the first 50 are shown.');
  const durable = new Set(
    stored.moments.filter(({ kind }) => kind === 'decision').map(({ subject }) => subject),
  );
  const onlyInRedis = undrained.moments.filter(({ subject }) => !durable.has(subject));
  return {
    requestId: search.requestId,
    traceparents: [...new Set([...stored.traceparents, ...undrained.traceparents])],
    moments: inOrder([...stored.moments, ...onlyInRedis]),
    notes: [...notes, ...undrained.notes],
  };
}

function searchOf(requestId: string, { sale, since }: TraceOptions): Search {
  if (!REQUEST_ID.test(requestId)) {
    throw new Fault(
      'config_invalid',
      'The request id must be 1 to 64 characters of A-Z a-z 0-9 . _ : + / = @ -.',
    );
  }
  if (sale !== undefined && !SALE_ID.test(sale)) {
    throw new Fault('config_invalid', `"${sale}" is not the id of a sale.`);
  }
  return { requestId, saleId: sale, since: new Date(Date.now() - durationMs(since)) };
}

function notFound({ requestId, since, saleId }: Search, notes: readonly string[]): string {
  const where = saleId === undefined ? '' : ` in the sale ${saleId}`;
  return [
    `Nothing was found of request ${requestId} since ${since.toISOString()}${where}.`,
    'A refused request, or one that got an earlier reservation again, changes nothing; only the log of the hot path has it.',
    ...notes.map((note) => `note: ${note}`),
  ].join('\n');
}
