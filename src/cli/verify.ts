/** `flash-sale verify`: verifies one sale or all sales, and prints every check. */
import { readServersConfig } from '../config.ts';
import { connectPostgres, requirePostgres } from '../postgres/connection.ts';
import { createLogger } from '../process/logger.ts';
import { Shards } from '../redis/shards.ts';
import type { Check, Progress, Servers } from '../verify/check.ts';
import { type Report, verifySale } from '../verify/verify.ts';

const REDIS_READY_TIMEOUT_MS = 5_000;
const POLL_MS = 20;
const PROGRESS_MS = 2_000;

/** True if every check passes. Throws `server_unfit` if PostgreSQL is unreachable; an unreachable Redis fails a check. */
export async function runVerify(options: { sale?: string; json: boolean }): Promise<boolean> {
  const config = readServersConfig(process.env);
  const log = createLogger('verify', 'silent');
  const sql = connectPostgres(config.DATABASE_URL, { process: 'verify', connectionsMax: 2 });
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'verify',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log,
    onUnfit: () => undefined,
  });
  try {
    await requirePostgres(sql);
    await untilReady(shards);
    const reports = await verifyAll({ sql, shards }, options.sale);
    console.log(options.json ? JSON.stringify(reports, null, 2) : printable(reports));
    return reports.every(({ ok }) => ok);
  } finally {
    shards.close();
    await sql.end({ timeout: 2 });
  }
}

type SaleReport = Report & { saleId: string };

async function verifyAll(servers: Servers, only: string | undefined): Promise<SaleReport[]> {
  const rows = await servers.sql<{ saleId: string }[]>`
    SELECT sale_id FROM sales ${only === undefined ? servers.sql`` : servers.sql`WHERE sale_id = ${only}`}
    ORDER BY created_at, sale_id`;
  if (only !== undefined && rows.length === 0) return [unknownSale(only)];
  const reports: SaleReport[] = [];
  for (const { saleId } of rows) {
    reports.push({
      saleId,
      ...(await verifySale(servers, saleId, undefined, progressPrinter(saleId))),
    });
  }
  return reports;
}

/** A large sale takes long, so a line on standard error says every few seconds how far it is. */
function progressPrinter(saleId: string): (progress: Progress) => void {
  let printedMs = performance.now();
  return ({ part, done, of }) => {
    if (of === 0 || performance.now() - printedMs < PROGRESS_MS) return;
    printedMs = performance.now();
    console.error(`${saleId}: ${done} of ${of} ${part}`);
  };
}

function unknownSale(saleId: string): SaleReport {
  const expected = 'a sale with that id';
  const check: Check = { name: 'sale-exists', ok: false, expected, actual: 'none' };
  return { saleId, ok: false, checks: [check] };
}

function printable(reports: readonly SaleReport[]): string {
  if (reports.length === 0) return 'There are no sales.';
  return reports.map(printableReport).join('\n\n');
}

function printableReport({ saleId, ok, checks }: SaleReport): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.map((check) => {
    const line = `  ${check.ok ? '✓' : '✗'} ${check.name.padEnd(width)}  ${check.actual}`;
    return check.ok ? line : `${line}\n    ${' '.repeat(width)}  expected: ${check.expected}`;
  });
  return [`${saleId}: ${ok ? 'every check passed' : 'NOT every check passed'}`, ...lines].join(
    '\n',
  );
}

/** Connecting takes a moment. Returns also if that takes too long. */
export async function untilReady(
  shards: Shards,
  timeoutMs = REDIS_READY_TIMEOUT_MS,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!shards.isReady && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
