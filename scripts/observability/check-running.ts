/**
 * `npm run check:observability`: a real Prometheus with the rules as they are scrapes a running engine while a small sale
 * runs. Every target must be up, and every recording rule and every panel of the dashboard must give samples.
 */
import assert from 'node:assert/strict';
import { command } from '../../harness/command/command-line.ts';
import { openCommandSession } from '../../harness/command/command-session.ts';
import { eventually } from '../../harness/eventually.ts';
import { expressions } from './dashboard-panels.ts';
import { keepDoing, type ObservedEngine, useObservedEngine } from './observed-engine.ts';
import { alertRules, readRules, recordingRules } from './rules.ts';

const SCRAPE_MS = 1_500;
const SAMPLES_MS_MAX = 60_000;
/** Empty while all is well: they show only what is wrong, or what is above 0. */
const SHOWS_PROBLEMS = /ALERTS|> 0$/;

command(
  'check:observability',
  'Scrape a running engine with a real Prometheus. Exits 1 when a target, a rule or a panel has no samples.',
).parse();
const session = openCommandSession();
try {
  session.step('starting Redis, PostgreSQL, the three processes and Prometheus');
  const engine = await useObservedEngine(session, {
    rules: {
      'recording.yaml': readRules('recording.yaml'),
      'alerts.yaml': readRules('alerts.yaml'),
    },
    intervalMs: SCRAPE_MS,
  });
  // Two workers, so that their supervisor's own metric is there; a low limit, so that buyers meet it.
  await engine.replace('hot-path', { HOT_PATH_WORKERS: '2', BUYER_REQUESTS_PER_SECOND: '5' });
  session.step('running a small sale');
  const selling = await sellALittle(engine);
  await requireSamples(
    engine,
    'jobs',
    ['hot-path', 'persister', 'admin'].map((job) => `up{job="${job}"} == 1`),
  );
  await requireSamples(
    engine,
    'recording rules',
    recordingRules().map(({ record }) => record),
  );
  await requireSamples(
    engine,
    'expressions of the dashboard',
    expressions().filter((expr) => !SHOWS_PROBLEMS.test(expr)),
  );
  await selling.stop();
  const alerts = await engine.prometheus.alerts();
  assert.deepEqual(alerts, [], 'an alert is active although nothing is wrong');
  console.log(`${alertRules().length} alerts: none is active`);
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
} finally {
  await session.close();
}
process.exit();

/** Waits until each expression has a sample. */
async function requireSamples(
  { prometheus }: ObservedEngine,
  what: string,
  exprs: readonly string[],
): Promise<void> {
  await eventually(
    async () => {
      const counts = await Promise.all(
        exprs.map(async (expr) => [expr, (await prometheus.query(expr)).length] as const),
      );
      const empty = counts.filter(([, count]) => count === 0).map(([expr]) => expr);
      assert.equal(empty.length, 0, `${what} without samples:\n  ${empty.join('\n  ')}`);
    },
    { timeoutMs: SAMPLES_MS_MAX },
  );
  console.log(`${what}: ${exprs.length} have samples`);
}

/** Purchases, a confirmation, expired holds, webhooks, refusals, a recovery, and a buyer who asks too often. */
async function sellALittle(engine: ObservedEngine) {
  await engine.operate('POST /webhooks', { url: engine.receiver.url });
  const saleId = await engine.sell(20, { holdSeconds: 2 });
  const { body } = await engine.buy(saleId, 'ada');
  await engine.operate(`POST /reservations/${body.reservationId}/confirm`, { paymentRef: 'pay_1' });
  await engine.operate(`GET /sales/${saleId}/verify`);
  await engine.operate(`POST /sales/${await engine.sell(1)}/recover`);
  return keepDoing(
    async (count) => {
      await engine.buy(saleId, `buyer-${count}`);
      await engine.get(`/v1/sales/${saleId}/me`, 'impatient');
    },
    { atOnce: 4, pauseMs: 20 },
  );
}
