/**
 * The autoscaler of `k8s/hpa.yaml` on real controllers, with crowds that come faster than it.
 *
 *   npm run bench:autoscale -- [--write] [--only cliff]
 *
 * A real API server, scheduler and controllers run the production manifests. A small node agent of the bench
 * (autoscale/node-agent.ts) runs each pod as a process, and HAProxy follows the ready pods. A hot path gets three hundredths
 * of a core instead of a whole one, so that many fit on a small machine. Redis is not slower in proportion, so batches are
 * smaller and a purchase costs more CPU time than with whole cores: the autoscaler adds more pods than it would there.
 *
 * Crowds come; a rolling update and the drain of a node happen under load. Exits 1 when a request gets anything but a
 * reservation or a 503 with `Retry-After`, or when a reservation is lost. Buyers who give up are counted. Needs Linux and
 * root. The first run builds Kubernetes, about 13 minutes of CPU time.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { command, onlyOption } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { eventually } from '../harness/eventually.ts';
import { KUBERNETES_VERSION } from '../harness/kubernetes/build.ts';
import { assertPromisesHold } from '../harness/sales/reservations.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { useConnections } from '../harness/servers/connections.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { useReplicated } from '../harness/servers/replication.ts';
import { Autoscaler } from './autoscale/autoscaler.ts';
import { useCluster } from './autoscale/cluster.ts';
import { plotOf } from './autoscale/plot.ts';
import { SCENARIOS, type Scenario } from './autoscale/scenarios.ts';
import { type Second, watchCrowd } from './autoscale/watch-crowd.ts';
import { atMost, loadAverage, reportTargets } from './report/targets.ts';

/** CPU cores of a hot path. */
const CORES = 0.03;
const SLOW_MS = 1_000;
const READY_MS_MAX = 180_000;
/** The crowd that finds out what one pod can serve: code is compiled while its rate is low, then it rises. */
const SATURATION = { perSecond: 150, fromSecond: 45, untilPerSecond: 2_000, untilSecond: 105 };
/** A rate is too high if most of these seconds are bad. */
const WINDOW_SECONDS = 5;
/** Until an idle pod has compiled its code. */
const SETTLE_MS = 20_000;
const IDLE_MS = 15_000;
/** From the start of a crowd until the operator's work. */
const MEANWHILE_MS = 15_000;
/** More than all buyers, so that every one gets a reservation that could be lost. */
const STOCK = 10_000_000;
/** Longer than the bench, so that no hold expires. */
const HOLD_SECONDS = 86_400;

const options = command('bench:autoscale', 'Runs the autoscaler of k8s/ on real controllers.')
  .option(...WRITE_OPTION)
  .addOption(onlyOption(SCENARIOS))
  .parse()
  .opts<{ write?: boolean; only?: string[] }>();

const session = openCommandSession();
const loadBefore = loadAverage();
const { master: redis } = await useReplicated(session);
const postgres = await usePostgres(session);
const servers = await useConnections(session, redis.url, postgres.url);
session.step('starting Kubernetes …');
const cluster = await useCluster(session, {
  redisUrl: redis.url,
  databaseUrl: postgres.url,
  cores: CORES,
});
try {
  const autoscaler = await Autoscaler.of(cluster);
  await untilReady(autoscaler.spec.minReplicas);
  await autoscaler.remove();
  await cluster.kubectl('scale', 'deployment/hot-path', '--replicas=1');
  await untilReady(1);
  await measureIdle();
  const perPod = await measureCapacity();
  const results = [];
  for (const scenario of SCENARIOS) {
    if (options.only && !options.only.includes(scenario.name)) continue;
    results.push(await run(scenario, autoscaler, perPod));
  }
  const targets = results.map(({ name, failed }) =>
    atMost(
      `${name}: requests that failed`,
      Object.values(failed).reduce((sum, count) => sum + count, 0),
      0,
    ),
  );
  const result = {
    machine: machine('Kubernetes, all pods, the servers, HAProxy and the crowd share these cores'),
    loadBefore,
    versions: {
      ...codeVersions(),
      ...(await serverVersions({ redisUrl: redis.url, postgresUrl: postgres.url })),
      kubernetes: KUBERNETES_VERSION,
    },
    coresPerPod: CORES,
    perPod,
    autoscaler: autoscaler.spec,
    results,
    targets,
  };
  const directory = await keepBenchResult('autoscale', result, options);
  for (const { name, title, seconds } of results) {
    await writeFile(join(directory, `autoscale-${name}.svg`), plotOf(title, seconds, perPod));
  }
  reportTargets(targets);
} finally {
  await session.close();
}
// The client of Kubernetes keeps timers.
process.exit();

async function measureIdle(): Promise<void> {
  session.step('measuring what an idle pod uses …');
  await sleep(SETTLE_MS);
  const [pod] = cluster.agent.limitedPods;
  const before = pod!.cpuSeconds!;
  await sleep(IDLE_MS);
  cluster.agent.idleCores = ((pod!.cpuSeconds! - before) * 1_000) / IDLE_MS;
  console.log(`an idle pod uses ${cluster.agent.idleCores.toFixed(4)} cores`);
  await cluster.kubectl('delete', 'pod', pod!.name);
  await untilReady(1);
}

/** Buyers per second that one pod serves without slow responses and refusals. */
async function measureCapacity(): Promise<number> {
  session.step('measuring what one pod can serve …');
  const { saleId } = await makeSale(servers, { stock: STOCK, holdSeconds: HOLD_SECONDS });
  const { perSecond, fromSecond, untilPerSecond, untilSecond } = SATURATION;
  const { seconds } = await watchCrowd(cluster, {
    name: 'capacity',
    saleId,
    shape: [
      [0, perSecond],
      [fromSecond, perSecond],
      [untilSecond, untilPerSecond],
    ],
  });
  // One such second may be a pause of the machine.
  const isTooMuch = ({ second }: Second) => {
    const window = seconds.slice(second, second + WINDOW_SECONDS);
    const bad = window.filter(
      ({ p99Ms, refused, gaveUp }) => p99Ms > SLOW_MS || refused + gaveUp > 0,
    );
    return second > fromSecond && bad.length > WINDOW_SECONDS / 2;
  };
  const perPod = seconds[seconds.findIndex(isTooMuch) - 1]?.demand;
  if (perPod === undefined) throw new Error('one pod served every crowd');
  console.log(`one pod serves ${perPod} buyers a second`);
  return perPod;
}

async function run(scenario: Scenario, autoscaler: Autoscaler, perPod: number) {
  const { name, title, pods, meanwhile } = scenario;
  session.step(`${name}: ${title} …`);
  await autoscaler.remove();
  await cluster.kubectl('scale', 'deployment/hot-path', `--replicas=${pods.least}`);
  await untilReady(pods.least);
  await autoscaler.start(pods);
  const { saleId } = await makeSale(servers, { stock: STOCK, holdSeconds: HOLD_SECONDS });
  const shape = scenario.shape.map(([second, worth]) => [second, worth * perPod] as const);
  const restarts = cluster.agent.restarts;
  const [{ seconds, reservations }] = await Promise.all([
    watchCrowd(cluster, { name, saleId, shape }, autoscaler),
    meanwhile && sleep(MEANWHILE_MS).then(() => meanwhile(cluster)),
  ]);
  await assertNothingIsLost(saleId, reservations);
  const failed = failuresOf(seconds);
  const summary = { ...summaryOf(seconds, perPod), restarts: cluster.agent.restarts - restarts };
  console.log(name, summary, failed);
  return { name, title, pods, summary, failed, seconds };
}

async function untilReady(pods: number): Promise<void> {
  await eventually(
    () => {
      assert.equal(cluster.agent.readyPods, pods);
      assert.equal(cluster.agent.limitedPods.length, pods);
    },
    { timeoutMs: READY_MS_MAX, pollMs: 500 },
  );
}

/** Every acknowledged reservation is in PostgreSQL, and every promise holds. */
async function assertNothingIsLost(saleId: string, reservations: readonly string[]): Promise<void> {
  await eventually(
    async () => {
      const [row] = await servers.sql<{ found: number }[]>`
        SELECT count(*)::int AS found FROM reservations
        WHERE sale_id = ${saleId} AND reservation_id IN (SELECT unnest(${reservations as string[]}::text[]))`;
      assert.equal(row!.found, reservations.length);
    },
    { timeoutMs: 60_000, pollMs: 500 },
  );
  await eventually(() => assertPromisesHold(servers, saleId), { timeoutMs: 60_000 });
}

/** How often, by what happened. */
function failuresOf(seconds: readonly Second[]): Record<string, number> {
  const failed: Record<string, number> = {};
  for (const [what, count] of seconds.flatMap((second) => Object.entries(second.failed ?? {}))) {
    failed[what] = (failed[what] ?? 0) + count;
  }
  return failed;
}

function summaryOf(seconds: readonly Second[], perPod: number) {
  const count = (holds: (second: Second) => boolean) => seconds.filter(holds).length;
  const sum = (of: (second: Second) => number) =>
    seconds.reduce((total, each) => total + of(each), 0);
  return {
    underProvisionedSeconds: count(({ demand, readyPods }) => demand > readyPods * perPod),
    slowSeconds: count(({ p99Ms }) => p99Ms > SLOW_MS),
    podsMost: Math.max(...seconds.map(({ readyPods }) => readyPods)),
    came: sum(({ came }) => came),
    refused: sum(({ refused }) => refused),
    gaveUp: sum(({ gaveUp }) => gaveUp),
  };
}
