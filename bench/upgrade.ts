/**
 * An upgrade of a running sale from an earlier commit: sells reservations on its stack, runs this checkout's migrations
 * while buyers go on buying, and then starts this checkout on the same data, verifies the sale and sells on.
 *
 *   npm run bench:upgrade -- --before <commit> [--reservations 1000000] [--per-second 500] [--seconds 40] [--write]
 *
 * Exits 1 when a target is missed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { eventually } from '../harness/eventually.ts';
import { writeBuyers } from './load/buyers.ts';
import { buyTemplate, percentile, runWrk } from './load/wrk.ts';
import { type CheckoutStack, openCheckoutSale, startCheckout } from './measure/checkout-stack.ts';
import { checkOut, ROOT } from './measure/earlier-commit.ts';
import { expect } from './measure/scenario.ts';
import { atMost, loadAverage, reportTargets } from './report/targets.ts';

const CONNECTIONS = 128;
/** Sold as fast as possible, with tokens for so many buyers at a time. */
const BUYERS_AT_ONCE = 200_000;
const FILL_SECONDS = 4;
/** The buyers buy for this long before the migrations begin. */
const BEFORE_MS = 2_000;
const ROWS_BEHIND_SECONDS_MAX = 5;
const P99_MS_MAX = 250;
const DRAIN = { timeoutMs: 300_000 };

const options = command(
  'bench:upgrade',
  'Measures an upgrade of a running sale. Exits 1 when a target is missed.',
)
  .requiredOption('--before <commit>', 'the version before the upgrade')
  .option('--reservations <count>', 'sold before the upgrade', wholeNumber, 1_000_000)
  .option('--per-second <count>', 'purchases during the migrations', wholeNumber, 500)
  .option(
    '--seconds <count>',
    'of these purchases; the migrations must end before',
    wholeNumber,
    40,
  )
  .option(...WRITE_OPTION)
  .parse()
  .opts<{
    before: string;
    reservations: number;
    perSecond: number;
    seconds: number;
    write?: boolean;
  }>();

const session = openCommandSession();
const loadBefore = loadAverage();
try {
  const home = mkdtempSync(join(tmpdir(), 'home-'));
  session.step(`starting ${options.before}`);
  const old = await startCheckout(checkOut(options.before), session, home);
  const saleId = await openCheckoutSale(old, options.reservations * 2);
  for (let round = 1; (await rowsOf(old, saleId)) < options.reservations; round++) {
    session.step(`selling, round ${round}: ${await rowsOf(old, saleId)} rows`);
    await sell(old, saleId, `early-${round}`, { seconds: FILL_SECONDS });
    await untilDrained(old, saleId);
  }
  const rows = await rowsOf(old, saleId);

  session.step('buying at a steady rate');
  const quiet = await sell(old, saleId, 'quiet', steadily(options.seconds / 2));
  session.step('buying while the migrations run');
  const lag = watchLag(old, saleId);
  const [during, migrationSeconds] = await Promise.all([
    sell(old, saleId, 'during', steadily(options.seconds)),
    sleep(BEFORE_MS).then(() => migrate(old)),
  ]);
  expect(
    migrationSeconds + BEFORE_MS / 1_000 < options.seconds,
    `the migrations took ${migrationSeconds.toFixed(1)} s: give more --seconds`,
  );
  await untilDrained(old, saleId);
  const rowsBehindMax = lag.stop();

  session.step('starting this version on the same data');
  await old.stop();
  const startedMs = performance.now();
  const now = await startCheckout(ROOT, session, home);
  const sold = await sell(now, saleId, 'after', steadily(options.seconds / 2));
  const firstSoldSeconds = (performance.now() - startedMs) / 1_000 - sold.seconds;
  await untilDrained(now, saleId);
  session.step('verifying');
  const failed = await failedChecks(now, saleId);

  const targets = [
    atMost('failed checks of verify', failed.length, 0),
    atMost('refused or failed purchases', quiet.refused + during.refused + sold.refused, 0),
    atMost('p99 of a purchase during the migrations', percentile(during, 99), P99_MS_MAX, 'ms'),
    atMost(
      'rows behind during the migrations, in seconds of purchases',
      Number((rowsBehindMax / options.perSecond).toFixed(2)),
      ROWS_BEHIND_SECONDS_MAX,
      's',
    ),
  ];
  const { redisUrl, postgresUrl } = now.description;
  const result = {
    bench: 'upgrade',
    before: options.before,
    settings: { perSecond: options.perSecond, connections: CONNECTIONS, seconds: options.seconds },
    rows,
    migrationSeconds,
    purchaseMs: { quiet: curveOf(quiet), during: curveOf(during), after: curveOf(sold) },
    rowsBehindMax,
    firstSoldSeconds,
    failed,
    targets,
    loadBefore,
    machine: machine('wrk and all processes share these cores'),
    versions: { ...codeVersions(), ...(await serverVersions({ redisUrl, postgresUrl })) },
  };
  console.log(
    JSON.stringify({ rows, migrationSeconds, ...result.purchaseMs, rowsBehindMax }, null, 2),
  );
  await keepBenchResult('upgrade', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}
process.exit();

function steadily(seconds: number) {
  return { seconds: Math.round(seconds), perSecond: options.perSecond };
}

async function sell(
  { description }: CheckoutStack,
  saleId: string,
  name: string,
  { seconds, perSecond = 0 }: { seconds: number; perSecond?: number },
) {
  const count = perSecond > 0 ? perSecond * (seconds + 2) : BUYERS_AT_ONCE;
  const { file } = await writeBuyers(join(tmpdir(), name), { name, count, purchasesEach: 1 });
  return runWrk({
    port: Number(new URL(description.hotPathUrl).port),
    template: buyTemplate(saleId),
    file,
    seconds,
    connections: CONNECTIONS,
    perSecond,
    repeats: false,
    cores: undefined,
    isUrgent: perSecond > 0,
    stopping: session.stopping,
  });
}

async function rowsOf({ sql }: CheckoutStack, saleId: string): Promise<number> {
  const [row] = await sql<[{ rows: string }]>`
    SELECT count(*) AS rows FROM reservations WHERE sale_id = ${saleId}`;
  return Number(row.rows);
}

async function untilDrained(stack: CheckoutStack, saleId: string): Promise<void> {
  await eventually(async () => {
    session.stopping.throwIfAborted();
    const behind = await rowsBehind(stack, saleId);
    expect(behind === 0, `${behind} rows are behind`);
  }, DRAIN);
}

async function rowsBehind({ description }: CheckoutStack, saleId: string): Promise<number> {
  const response = await fetch(`${description.adminUrl}/admin/v1/sales/${saleId}`, {
    headers: { authorization: `Bearer ${description.adminToken}` },
  });
  const view = (await response.json()) as { persister: { lag: number } };
  return view.persister.lag;
}

/** The most rows behind until `stop`. */
function watchLag(stack: CheckoutStack, saleId: string): { stop: () => number } {
  let most = 0;
  const note = (behind: number) => {
    most = Math.max(most, behind);
  };
  // A look that fails says nothing.
  const timer = setInterval(() => {
    rowsBehind(stack, saleId).then(note, () => undefined);
  }, 200);
  return {
    stop: () => {
      clearInterval(timer);
      return most;
    },
  };
}

/** With this checkout's command, as an operator would. Returns the seconds it took. */
async function migrate({ description }: CheckoutStack): Promise<number> {
  const startedMs = performance.now();
  const child = spawn(process.execPath, [join(ROOT, 'src/main.ts'), 'migrate'], {
    env: { ...process.env, DATABASE_URL: description.postgresUrl, REDIS_URL: description.redisUrl },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  session.after(() => child.kill());
  const [code] = await once(child, 'exit');
  expect(code === 0, `migrate exited with ${code}`);
  return (performance.now() - startedMs) / 1_000;
}

async function failedChecks({ description }: CheckoutStack, saleId: string): Promise<string[]> {
  const response = await fetch(`${description.adminUrl}/admin/v1/sales/${saleId}/verify`, {
    headers: { authorization: `Bearer ${description.adminToken}` },
  });
  const { checks } = (await response.json()) as { checks: { name: string; ok: boolean }[] };
  return checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

function curveOf(wrk: Awaited<ReturnType<typeof sell>>) {
  return { p50: percentile(wrk, 50), p99: percentile(wrk, 99), p999: percentile(wrk, 99.9) };
}
