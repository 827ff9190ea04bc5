/**
 * How long buyers wait while another Redis server takes over, and what they wait for.
 *
 *   npm run bench:failover -- [--write] [--rounds 5]
 *
 * A cluster whose masters have two replicas each, and a master with two replicas and three sentinels; `DURABILITY` is
 * `replicated`. While twenty connections buy, the master is handed over to a replica, or killed. The wait has three parts:
 * until another server is the master, which is Redis' own time; until the sale is open there; and until the next
 * reservation. After a kill, the second part includes what safety demands: the old master may be cut off instead of dead,
 * and decides until it misses its replicas. Exits 1 when the second and third part together take more than a second
 * longer than safety demands.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import calculateSlot from 'cluster-key-slot';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { quantile } from '../harness/crowds/open-loop-load.ts';
import { RetryingCrowd } from '../harness/crowds/retrying-crowd.ts';
import { eventually } from '../harness/eventually.ts';
import { makeSale } from '../harness/sales/sales.ts';
import { useConnections } from '../harness/servers/connections.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { type TestRedis, withRedis } from '../harness/servers/redis.ts';
import { PROMPT_FAILOVER, useCluster } from '../harness/servers/redis-cluster.ts';
import { handOver, PROMPT, useReplicated } from '../harness/servers/replication.ts';
import { useSentinels } from '../harness/servers/sentinels.ts';
import { saleKey } from '../src/lua/keys.ts';
import { startPurchasingEngine } from './measure/purchasing-engine.ts';
import { atMost, loadAverage, reportTargets } from './report/targets.ts';

const REPLICAS = 2;
const MAX_LAG_SECONDS = 5;
/** Redis counts the lag in whole seconds, once a second, so that the old master may decide for two seconds more. */
const SAFETY_MS = (MAX_LAG_SECONDS + 2) * 1_000;
const BEYOND_MS_MAX = 1_000;
/** Otherwise replicas of other masters join one that lost a replica. */
const STAY = ['--cluster-allow-replica-migration', 'no'];
/**
 * Within twice the node timeout, a node votes only once for a replica of the same master. So a handover soon after
 * another election is ignored: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
 */
const SINCE_ELECTION_MS = 5_000;
const CONNECTIONS = 20;
const PATIENCE = { timeoutMs: 60_000 };
/** For what is measured. */
const FINE = { ...PATIENCE, pollMs: 5 };

const options = command('bench:failover', 'Measures how soon a sale sells again on another server.')
  .option(...WRITE_OPTION)
  .option('--rounds <number>', 'of each kind', wholeNumber, 5)
  .parse()
  .opts<{ write?: boolean; rounds: number }>();

/** A master and two replicas that can take its place. */
interface Servers {
  name: 'cluster' | 'sentinels';
  url: string;
  servers: readonly TestRedis[];
  /** Whether the sale is on these servers. */
  has: (saleId: string) => boolean;
  /** The one that clients are told of. Rejects while there is none. */
  master: () => Promise<TestRedis>;
  /** May resolve before another server is the master. */
  handOverTo: (replica: TestRedis) => Promise<void>;
}

/** ms. */
interface Wait {
  untilMaster: number;
  untilOpen: number;
  untilReservation: number;
}

const session = openCommandSession();
const loadBefore = loadAverage();
const postgres = await usePostgres(session);
try {
  const results = [];
  const targets = [];
  for (const servers of [await startCluster(), await startWithSentinels()]) {
    const { handedOver, killed } = await measure(servers);
    results.push({ servers: servers.name, handedOver, killed });
    const beyond = ({ median }: typeof killed, safetyMs: number) =>
      Math.round(median.untilOpen + median.untilReservation - safetyMs);
    // Sentinels do not stop the old master at once, so the sale waits as after its death.
    const safetyMs = servers.name === 'sentinels' ? SAFETY_MS : 0;
    targets.push(
      atMost(
        `${servers.name}, handed over: beyond ${safetyMs} ms`,
        beyond(handedOver, safetyMs),
        BEYOND_MS_MAX,
        'ms',
      ),
      atMost(
        `${servers.name}, killed: beyond ${SAFETY_MS} ms`,
        beyond(killed, SAFETY_MS),
        BEYOND_MS_MAX,
        'ms',
      ),
    );
  }
  const result = {
    machine: machine('all servers, the engine and this program share these cores'),
    loadBefore,
    versions: { ...codeVersions(), ...(await versions()) },
    maxLagSeconds: MAX_LAG_SECONDS,
    results,
    targets,
  };
  console.log(JSON.stringify(results, null, 2));
  await keepBenchResult('failover', result, options);
  reportTargets(targets);
} finally {
  await session.close();
}

async function startCluster(): Promise<Servers> {
  const demanded = ['--min-replicas-to-write', '1'];
  const lag = ['--min-replicas-max-lag', String(MAX_LAG_SECONDS)];
  const cluster = await useCluster(session, {
    replicas: REPLICAS,
    // Each master needs one, or it rejects writes.
    ofEach: true,
    args: [...PROMPT, ...PROMPT_FAILOVER, ...demanded, ...lag, ...STAY],
  });
  const servers = [cluster.masters[0]!, ...cluster.replicas];
  return {
    name: 'cluster',
    url: cluster.url,
    servers,
    master: () => onlyMasterOf(servers),
    has: (saleId) => cluster.ownerOf(calculateSlot(saleKey(saleId, 'sale'))) === 0,
    handOverTo: (replica) =>
      withRedis(replica.url, (redis) =>
        handOver(
          () => redis.cluster('FAILOVER'),
          async () => assert.equal((await redis.role())[0], 'master'),
        ),
      ),
  };
}

async function startWithSentinels(): Promise<Servers> {
  const { master, replicas } = await useReplicated(session, {
    replicas: REPLICAS,
    // Not all, or the sale would wait for the killed master.
    demanded: 1,
    maxLagSeconds: MAX_LAG_SECONDS,
  });
  const sentinels = await useSentinels(session, master);
  const servers = [master, ...replicas];
  return {
    name: 'sentinels',
    url: sentinels.url,
    servers,
    master: async () => {
      const port = await sentinels.masterPort();
      return servers.find((server) => server.port === port)!;
    },
    has: () => true,
    // They choose the replica.
    handOverTo: () => sentinels.handOver(),
  };
}

async function measure(servers: Servers) {
  const { shards, sql } = await useConnections(session, servers.url, postgres.url);
  const engine = await startPurchasingEngine(session, {
    redisUrl: servers.url,
    databaseUrl: postgres.url,
    durability: 'replicated',
    connections: CONNECTIONS,
  });
  const waits: Record<'handedOver' | 'killed', Wait[]> = { handedOver: [], killed: [] };
  let number = 0;
  // A new sale each time: sentinels may promote a replica that lacks reservations, and to rebuild a large sale takes longer.
  const openSale = async () => {
    const next = () => `${servers.name}-${++number}`;
    let saleId = next();
    while (!servers.has(saleId)) saleId = next();
    await makeSale({ shards, sql }, { saleId, stock: 10_000_000 });
    return saleId;
  };
  for (let round = 1; round <= options.rounds; round++) {
    for (const how of ['handedOver', 'killed'] as const) {
      const master = await untilSettled(servers);
      await sleep(SINCE_ELECTION_MS);
      const saleId = await eventually(openSale, PATIENCE);
      const crowd = new RetryingCrowd([engine.hotPath], saleId, { lanes: CONNECTIONS });
      try {
        const wait = await failOver(servers, { how, master, saleId, crowd });
        console.log(`${servers.name}, ${how}, round ${round}: ${JSON.stringify(wait)}`);
        waits[how].push(wait);
      } finally {
        // Its requests would fail with the engine.
        await crowd.stop();
      }
    }
  }
  await engine.stop();
  shards.close();
  return { handedOver: summary(waits.handedOver), killed: summary(waits.killed) };
}

/** Resolves with the master when it has all its replicas. */
async function untilSettled({ master }: Servers): Promise<TestRedis> {
  const found = await eventually(master, PATIENCE);
  await eventually(async () => {
    const info = await withRedis(found.url, (redis) => redis.info('replication'));
    assert.equal(info.match(/^slave\d+:.*state=online/gm)?.length, REPLICAS);
  }, PATIENCE);
  return found;
}

async function failOver(
  { servers, master: masterNow, handOverTo }: Servers,
  choices: {
    how: 'handedOver' | 'killed';
    master: TestRedis;
    saleId: string;
    crowd: RetryingCrowd;
  },
): Promise<Wait> {
  const { how, master, saleId, crowd } = choices;
  const others = servers.filter((server) => server !== master);
  await eventually(() => assert.ok(crowd.sold.size > 100), PATIENCE);
  const startMs = performance.now();
  if (how === 'killed') await master.kill();
  const handingOver = how === 'handedOver' ? handOverTo(others[0]!) : Promise.resolve();
  handingOver.catch(() => undefined); // It is awaited below.
  /** When the server was named that is the master at last: sentinels may replace it once more. */
  let masterMs = startMs;
  let named: TestRedis | undefined;
  await eventually(async () => {
    const current = await masterNow();
    assert.notEqual(current.port, master.port);
    if (current !== named) masterMs = performance.now();
    named = current;
    assert.ok(await isOpenOn(named, saleId));
  }, FINE);
  const openMs = performance.now();
  const untilReservation = await eventually(() => {
    const ms = crowd.firstSaleAfter(openMs);
    assert.ok(ms !== undefined);
    return ms;
  }, FINE);
  await handingOver;
  if (how === 'killed') await master.start();
  return {
    untilMaster: Math.round(masterMs - startMs),
    untilOpen: Math.round(openMs - masterMs),
    untilReservation: Math.round(untilReservation),
  };
}

async function isOpenOn(server: TestRedis, saleId: string): Promise<boolean> {
  return withRedis(server.url, async (redis) => {
    const runId = /^run_id:(\w+)/m.exec(await redis.info('server'))![1]!;
    return (await redis.hget(saleKey(saleId, 'sale'), 'fence')) === runId;
  });
}

/** Of servers with the same sale, the one that is the master. Rejects while there is none, or more than one. */
async function onlyMasterOf(servers: readonly TestRedis[]): Promise<TestRedis> {
  const running = servers.filter(({ isRunning }) => isRunning);
  const roles = await Promise.all(
    running.map((server) => withRedis(server.url, async (redis) => (await redis.role())[0])),
  );
  const masters = running.filter((_, index) => roles[index] === 'master');
  assert.equal(masters.length, 1);
  return masters[0]!;
}

function summary(waits: readonly Wait[]) {
  const median = (part: keyof Wait) =>
    quantile(
      waits.map((wait) => wait[part]),
      0.5,
    );
  return {
    median: {
      untilMaster: median('untilMaster'),
      untilOpen: median('untilOpen'),
      untilReservation: median('untilReservation'),
    },
    waits,
  };
}

async function versions() {
  const redis = await useReplicated(session, { replicas: 0 });
  return serverVersions({ redisUrl: redis.master.url, postgresUrl: postgres.url });
}
