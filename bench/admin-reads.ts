/**
 * What admin's reads cost with a hundred sales and a million reservations in PostgreSQL, one sale having half of them.
 *
 *   npm run bench:admin-reads -- [--sales 100] [--reservations 1000000] [--write]
 *
 * The result has the time of each request, and the plans by which PostgreSQL ran its queries (auto_explain). Exits 1 when
 * a page takes too long or reads all of a large table.
 */
import { chownSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { useEngineProcess } from '../harness/engine/engine-process.ts';
import { makeSales } from '../harness/sales/many-sales.ts';
import { useStoppableServers } from '../harness/servers/connections.ts';
import { postgresUser } from '../harness/servers/postgres.ts';
import { JWT_SECRET } from './load/buyers.ts';
import { atMost, loadAverage, percentiles, reportTargets, type Target } from './report/targets.ts';

const TOKEN = 'an-operator-of-the-bench';
const REQUESTS = 20;
const PAGE_MS_MAX = 100;
const PAGE_SIZE = 100;
/** The log is written behind the response. */
const LOG_MS = 300;
const LARGE_TABLES = ['reservations', 'reservation_events'];

const options = command('bench:admin-reads', 'Measures reads of admin with many reservations.')
  .option('--sales <count>', 'at least 2', wholeNumber, 100)
  .option('--reservations <count>', 'half of them in one sale', wholeNumber, 1_000_000)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ sales: number; reservations: number; write?: boolean }>();

const session = openCommandSession();
const loadBefore = loadAverage();
try {
  const { redis, postgres, servers } = await useStoppableServers(session);
  const { sql } = servers;
  session.step(`${options.sales} sales, ${options.reservations} reservations …`);
  const saleIds = await makeSales(servers, options.sales);
  const large = saleIds[0]!;
  await fill(large, Math.floor(options.reservations / 2));
  const others = saleIds.slice(1);
  for (const saleId of others)
    await fill(saleId, Math.floor(options.reservations / 2 / others.length));
  await sql`VACUUM ANALYZE`;
  const readLog = await logPlans();

  const admin = await useEngineProcess(session, 'admin', {
    REDIS_URL: redis.url,
    DATABASE_URL: postgres.url,
    JWT_SECRET,
    ADMIN_TOKENS: `operator:${TOKEN}`,
    LOG_LEVEL: 'warn',
  });
  await admin.untilReady();
  const read = async (path: string) => {
    const startedMs = performance.now();
    const response = await fetch(`${admin.url}/admin/v1${path}`, {
      headers: { authorization: `Bearer ${TOKEN}` },
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path} responded ${response.status}: ${text}`);
    return { text, ms: performance.now() - startedMs };
  };

  const reservations = `/reservations?limit=${PAGE_SIZE}`;
  const { text } = await read(`${reservations}&saleId=${large}`);
  const [first] = JSON.parse(text).data as { reservationId: string }[];
  const pages = {
    'sales, with live numbers': `/sales?limit=${PAGE_SIZE}`,
    'one sale': `/sales/${large}`,
    'newest of all sales': reservations,
    'a page deep in all sales': `${reservations}&cursor=${cursor(['t', Date.now() - 40_000_000, 'x'])}`,
    'newest of the large sale': `${reservations}&saleId=${large}`,
    'a page deep in the large sale': `${reservations}&saleId=${large}&cursor=${cursor(['s', 1_000])}`,
    'a buyer': `${reservations}&buyerId=buyer-7`,
    'a payment': `${reservations}&paymentRef=pay-${large}-1000`,
    'a status that few have': `${reservations}&saleId=${large}&status=cancelled`,
    'a status that few have, all sales': `${reservations}&status=cancelled`,
    'a SKU that few bought': `${reservations}&saleId=${large}&sku=rare`,
    'a span of time': `${reservations}&from=${iso(-50_000_000)}&to=${iso(-49_990_000)}`,
    'one reservation': `/reservations/${first!.reservationId}`,
  };
  const results: Record<string, { ms: ReturnType<typeof percentiles>; plans: string[] }> = {};
  for (const [name, path] of Object.entries(pages)) {
    session.step(name);
    // PostgreSQL reads the pages from disk once.
    await read(path);
    const times: number[] = [];
    for (let count = 0; count < REQUESTS; count++) times.push((await read(path)).ms);
    await readLog();
    await read(path);
    results[name] = { ms: percentiles(times), plans: await readLog() };
  }

  const targets: (Target | { name: string; ok: boolean })[] = [
    ...Object.entries(results).map(([name, { ms }]) => atMost(name, ms.p50, PAGE_MS_MAX, 'ms')),
    {
      name: 'no page reads all of a large table',
      ok: !Object.values(results).some(({ plans }) => plans.some(readsAllOfALargeTable)),
    },
  ];
  await keepBenchResult(
    'admin-reads',
    {
      bench: 'admin-reads',
      settings: {
        sales: options.sales,
        reservations: options.reservations,
        requests: REQUESTS,
        pageSize: PAGE_SIZE,
      },
      results,
      targets,
      loadBefore,
      machine: machine('admin, Redis, PostgreSQL and this program share these cores'),
      versions: {
        ...codeVersions(),
        ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
      },
    },
    options,
  );
  reportTargets(targets);

  /** One reservation each 100 ms up to now; one of 10,000 is cancelled, one of 1,000 has a payment, one of 20,000 another SKU. */
  async function fill(saleId: string, count: number): Promise<void> {
    await sql`
      INSERT INTO reservations (reservation_id, sale_id, buyer_id, status, items, total, currency, position, version,
        idempotency_key, reserved_at, expires_at, updated_at, request_id, traceparent, persisted_at, first_event)
      SELECT ${saleId} || '_' || p || '_aaaaaaaa', ${saleId}, 'buyer-' || p,
        CASE WHEN p % 10000 = 0 THEN 'cancelled' ELSE 'confirmed' END,
        jsonb_build_array(jsonb_build_object('sku', CASE WHEN p % 20000 = 0 THEN 'rare' ELSE 'unit' END,
          'quantity', 1, 'unitPrice', 1000)),
        1000, 'EUR', p, 2, '', t, t + interval '5 minutes', t, 'request-' || p, '', t, 2 * p - 1
      FROM generate_series(1, ${count}::bigint) p,
        LATERAL (SELECT now() - (${count}::bigint - p) * interval '100 ms' AS t) time`;
    await sql`
      INSERT INTO reservation_events
      SELECT reservation_id, 2, sale_id, 2 * position, status, reserved_at, CASE WHEN position % 1000 = 0
        THEN '{"actor":"merchant:1","paymentRef":"pay-' || sale_id || '-' || position || '"}' ELSE '' END, request_id, ''
      FROM reservations WHERE sale_id = ${saleId}`;
  }

  /** Restarts PostgreSQL with a log of all plans. Returns what reads the new ones. */
  async function logPlans(): Promise<() => Promise<string[]>> {
    const directory = mkdtempSync(join(tmpdir(), 'plans-'));
    const user = postgresUser();
    if (user) chownSync(directory, user.uid, user.gid);
    await sql.unsafe(`LOAD 'auto_explain'`);
    const settings = {
      logging_collector: 'on',
      log_directory: directory,
      log_filename: 'log',
      log_line_prefix: '',
      session_preload_libraries: 'auto_explain',
      'auto_explain.log_min_duration': '0',
      'auto_explain.log_analyze': 'on',
      'auto_explain.log_timing': 'off',
    };
    for (const [name, value] of Object.entries(settings))
      await sql.unsafe(`ALTER SYSTEM SET ${name} = '${value}'`);
    await postgres.shutDown();
    await postgres.start();
    let length = 0;
    return async () => {
      await sleep(LOG_MS);
      const log = readdirSync(directory)
        .map((name) => readFileSync(join(directory, name), 'utf8'))
        .join('');
      const added = log.slice(length);
      length = log.length;
      return added
        .split(/^LOG: {2}duration: [\d.]+ ms {2}plan:\n/m)
        .slice(1)
        .map((plan) =>
          plan
            .replace(/\n(?=\S)[\s\S]*$/, '')
            .replaceAll(/^\t/gm, '')
            .trim(),
        )
        .filter((plan) => LARGE_TABLES.some((table) => plan.includes(table)));
    };
  }
} finally {
  await session.close();
}
process.exit();

function readsAllOfALargeTable(plan: string): boolean {
  return LARGE_TABLES.some((table) => plan.includes(`Seq Scan on ${table}`));
}

/** As admin makes them. */
function cursor(position: unknown[]): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

function iso(fromNowMs: number): string {
  return new Date(Date.now() + fromNowMs).toISOString();
}
