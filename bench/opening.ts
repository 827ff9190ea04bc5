/**
 * How exactly a sale opens at its `startsAt`. Three hot-path processes on one Redis sell a sale whose start is some
 * seconds ahead. The own clocks of two of them are wrong by minutes. Buyers try all the time, few of them or many.
 *
 *   npm run bench:opening -- [--rounds 5] [--write]
 *
 * Measures for each process when it reserved first and refused last, by Redis' clock, and when watchers were told.
 * Exits 1 when a target is missed, or when something was reserved before the start.
 */
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { type Opening, watchOpening } from '../harness/crowds/opening-crowd.ts';
import { useEngineProcess } from '../harness/engine/engine-process.ts';
import { JWT_SECRET } from '../harness/engine/hot-path.ts';
import { wrongClock } from '../harness/engine/wrong-clock.ts';
import { openSale } from '../harness/sales/sales.ts';
import { useShards } from '../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../harness/servers/redis.ts';
import { atMost, loadAverage, reportTargets } from './report/targets.ts';

const MINUTE_MS = 60_000;
/** Of the three processes. */
const WRONG_CLOCKS_MS = [0, 7 * MINUTE_MS, -7 * MINUTE_MS];

/** Connections for each process. The many send as fast as they get responses, so that all cores are busy. */
const LOADS = {
  few: { buyers: 4, pauseMs: 2, watchers: 32 },
  many: { buyers: 100, pauseMs: 0, watchers: 32 },
};
const STOCK = 1_000_000;
/** The start is this far ahead when the sale is created: buyers are refused from memory at first, then by Redis. */
const AHEAD_MS = 2_500;
const UNTIL_MS = 700;
const LIMITS = { openedMs: 50, watcherMs: 500, clockErrorMs: 50 };

const options = command(
  'bench:opening',
  'Measures how exactly three hot paths open a sale at its start. Exits 1 when a target is missed.',
)
  .option('--rounds <count>', 'of each load', wholeNumber, 5)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ rounds: number; write?: boolean }>();

const session = openCommandSession();
const loadBefore = loadAverage();
const redis = await useRedisWithIdentity(session);
const shards = await useShards(session, redis.url);
try {
  const hotPaths = await Promise.all(
    WRONG_CLOCKS_MS.map((wrongMs) =>
      useEngineProcess(session, 'hot-path', {
        REDIS_URL: redis.url,
        JWT_SECRET,
        BUYER_REQUESTS_PER_SECOND: '0',
        LOG_LEVEL: 'error',
        ...wrongClock(wrongMs),
      }),
    ),
  );
  for (const hotPath of hotPaths) await hotPath.untilReady();
  const results: Record<string, Opening[][]> = {};
  for (const [name, load] of Object.entries(LOADS)) {
    results[name] = [];
    for (let round = 1; round <= options.rounds; round++) {
      session.step(`${name} buyers, round ${round} of ${options.rounds} …`);
      const startsAt = Date.now() + AHEAD_MS;
      const { saleId } = await openSale(shards, { phone: STOCK }, { startsAt });
      const openings = await watchOpening(hotPaths, {
        saleId,
        startsAt,
        untilMs: UNTIL_MS,
        ...load,
      });
      results[name].push(openings);
      console.table(openings);
    }
  }
  const targets = Object.entries(results).flatMap(([name, rounds]) =>
    targetsOf(name, rounds.flat()),
  );
  await keepBenchResult(
    'opening',
    {
      bench: 'opening',
      wrongClocksMs: WRONG_CLOCKS_MS,
      loads: LOADS,
      results,
      targets,
      loadBefore,
      machine: machine('three hot paths, buyers, watchers and Redis share these cores'),
      versions: codeVersions(),
    },
    options,
  );
  reportTargets(targets);
} finally {
  await session.close();
}

/**
 * A request that is sent later than the start by the limit must never be refused as too early, however busy the machine
 * is. The other delays include waiting for a core: they are targets for few buyers, beyond the longest pause that this
 * machine's other work caused.
 */
function targetsOf(name: string, openings: Opening[]) {
  const most = (delayOf: (opening: Opening) => number) =>
    Math.max(0, ...openings.map((opening) => delayOf(opening)));
  const targets = [
    atMost(
      `${name}: reserved before the start by`,
      most((one) => -one.firstReservedMs),
      0,
      'ms',
    ),
    atMost(
      `${name}: last refused request was sent`,
      most((one) => one.lastRefusedMs),
      LIMITS.openedMs,
      'ms',
    ),
  ];
  if (name !== 'few') return targets;
  const beyond = (field: 'firstReservedMs' | 'lastWatcherMs' | 'serverTimeErrorMs') =>
    most((one) => one[field] - one.longestPauseMs);
  return [
    ...targets,
    atMost(`${name}: first reservation`, beyond('firstReservedMs'), LIMITS.openedMs, 'ms'),
    atMost(`${name}: last watcher was told`, beyond('lastWatcherMs'), LIMITS.watcherMs, 'ms'),
    atMost(
      `${name}: serverTime is wrong by`,
      beyond('serverTimeErrorMs'),
      LIMITS.clockErrorMs,
      'ms',
    ),
  ];
}
