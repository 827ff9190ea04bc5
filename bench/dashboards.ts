/**
 * The cost of open dashboards for buyers: the p99 of a purchase at a moderate rate with 200 of them and with none, in
 * alternating rounds of one run. Hot path and Redis have a core of their own, because dashboards are served by admin.
 *
 *   npm run bench:dashboards -- [--dashboards 200] [--rounds 10] [--per-second 1000] [--seconds 5] [--write]
 *
 * Exits 1 when the target is missed.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { writeBuyers } from './load/buyers.ts';
import { buyTemplate, percentile, runWrk } from './load/wrk.ts';
import { compare, type Figures, runRounds } from './measure/rounds.ts';
import { expect } from './measure/scenario.ts';
import { openWholeStack } from './measure/whole-stack.ts';
import { atMost, loadAverage, reportTargets } from './report/targets.ts';

const CONNECTIONS = 128;
const RATIO_MAX = 1.1;
/** Of the two that a dashboard gets in a second. */
const EVENTS_MIN = 1.5;
/** Processes report more often, and admin reads, by then. */
const SETTLING_MS = 1_000;

const NONE = 'no dashboard';
const OPEN = 'dashboards';

const options = command(
  'bench:dashboards',
  'Measures what open dashboards cost buyers. Exits 1 when the target is missed.',
)
  .option('--dashboards <count>', 'half of the overview, half of one sale', wholeNumber, 200)
  .option('--rounds <count>', 'each with dashboards and without', wholeNumber, 10)
  .option('--per-second <count>', 'purchases', wholeNumber, 1_000)
  .option('--seconds <count>', 'of load, with dashboards and without', wholeNumber, 5)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{
    dashboards: number;
    rounds: number;
    perSecond: number;
    seconds: number;
    write?: boolean;
  }>();
const { dashboards: DASHBOARDS, rounds: ROUNDS, perSecond: PER_SECOND, seconds: SECONDS } = options;

const session = openCommandSession();
const loadBefore = loadAverage();
const stack = await openWholeStack(session.stopping);
session.after(() => stack.close());
try {
  const { file } = await writeBuyers(join(stack.directory, 'buyers'), {
    name: 'buyer',
    count: PER_SECOND * (SECONDS + 1),
    purchasesEach: 1,
  });
  const { redisUrl, postgresUrl } = stack.description();
  const rounds = await runRounds(
    { rounds: ROUNDS, stopping: session.stopping, report: session.step },
    [NONE, OPEN],
    (contestant) => measure(file, contestant === OPEN ? DASHBOARDS : 0),
  );
  const compared = compare(rounds, {
    what: `p99 latency of a purchase, ${DASHBOARDS} dashboards ÷ none`,
    metric: 'p99Ms',
    of: OPEN,
    over: NONE,
    atMost: RATIO_MAX,
  });
  const targets = [atMost(compared.what, Number(compared.median.toFixed(3)), RATIO_MAX)];
  const result = {
    bench: 'dashboards',
    settings: {
      dashboards: DASHBOARDS,
      perSecond: PER_SECOND,
      connections: CONNECTIONS,
      seconds: SECONDS,
      durability: 'safe',
    },
    rounds,
    compared,
    targets,
    loadBefore,
    machine: machine('hot path and Redis have one core, everything else has the others'),
    versions: { ...codeVersions(), ...(await serverVersions({ redisUrl, postgresUrl })) },
  };
  await keepBenchResult('dashboards', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}

async function measure(file: string, dashboards: number): Promise<Figures> {
  const { saleId } = await makeSale(stack.servers, { stock: 1_000_000 });
  const viewers = dashboards > 0 ? await openDashboards(saleId, dashboards) : undefined;
  try {
    await sleep(SETTLING_MS, undefined, { signal: session.stopping });
    if (viewers) await eventsOf(viewers);
    const wrk = await runWrk({
      port: stack.hotPathPort,
      template: buyTemplate(saleId),
      file,
      seconds: SECONDS,
      connections: CONNECTIONS,
      perSecond: PER_SECOND,
      repeats: false,
      cores: undefined,
      isUrgent: true,
      stopping: session.stopping,
    });
    const events = viewers ? (await eventsOf(viewers)) / dashboards / wrk.seconds : 0;
    expect(wrk.refused === 0, `${wrk.refused} buyers were refused`);
    expect(
      wrk.perSecond > PER_SECOND * 0.9,
      `only ${Math.round(wrk.perSecond)} requests per second were served`,
    );
    expect(!viewers || events >= EVENTS_MIN, `a dashboard got ${events} events per second`);
    return {
      perSecond: wrk.perSecond,
      p50Ms: percentile(wrk, 50),
      p99Ms: percentile(wrk, 99),
      eventsPerDashboardAndSecond: events,
    };
  } finally {
    if (viewers) {
      const ended = once(viewers, 'exit');
      viewers.send('close');
      await ended;
    }
  }
}

async function openDashboards(saleId: string, count: number): Promise<ChildProcess> {
  const { adminUrl, adminToken: token } = stack.description();
  const child = fork(join(import.meta.dirname, 'load/dashboard-viewers.ts'));
  session.after(() => child.kill());
  const opened = once(child, 'message');
  child.send({ adminUrl, token, saleId, count });
  await opened;
  return child;
}

/** Since the last call. */
async function eventsOf(viewers: ChildProcess): Promise<number> {
  const received = once(viewers, 'message');
  viewers.send('report');
  const [events] = (await received) as [number];
  return events;
}
