/**
 * What a sold unit costs, over all processes of `npm start`: CPU time for each reservation that is a row in PostgreSQL.
 * Every buyer is new, as in a real rush: the hot path has never seen the token. Nothing is placed on cores.
 *
 *   npm run bench:cost -- --before <commit> [--rounds 7] [--seconds 4] [--write]
 *
 * The stacks of this checkout and of the earlier commit take turns. A turn is three loads: purchases that win, refusals
 * of tokens never seen, and refusals of tokens seen before. Exits 1 when a target is missed.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { command, wholeNumber } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { codeVersions, machine, serverVersions } from '../harness/command/machine.ts';
import { keepBenchResult, WRITE_OPTION } from '../harness/command/result-files.ts';
import { eventually } from '../harness/eventually.ts';
import { childrenOf } from '../harness/servers/process-records.ts';
import { tokenOf, writeBuyers } from './load/buyers.ts';
import { buyTemplate, runWrk } from './load/wrk.ts';
import { type CheckoutStack, openCheckoutSale, startCheckout } from './measure/checkout-stack.ts';
import { checkOut, ROOT } from './measure/earlier-commit.ts';
import { type Cpu, cpuOf } from './measure/process-cpu.ts';
import {
  type Comparison,
  compare,
  type Figures,
  type Round,
  runRounds,
  spreadOf,
} from './measure/rounds.ts';
import { expect } from './measure/scenario.ts';
import { table } from './report/tables.ts';
import { loadAverage } from './report/targets.ts';

const CONNECTIONS = 256;
const PER_SECOND_MAX = 60_000;
/** So few that each pass reaches all of them. */
const KNOWN_BUYERS = 20_000;
/** Redis has told the hot path who won by then. */
const SETTLE_MS = 2_000;
const DRAIN = { timeoutMs: 120_000 };

const NOW = 'now';
const BEFORE = 'before';

const options = command('bench:cost', 'Measures the CPU time of a sold unit, over all processes.')
  .requiredOption('--before <commit>', 'the earlier commit')
  .option('--rounds <count>', 'turns of each', wholeNumber, 7)
  .option('--seconds <count>', 'of each load', wholeNumber, 4)
  .option(...WRITE_OPTION)
  .parse()
  .opts<{ before: string; rounds: number; seconds: number; write?: boolean }>();

const session = openCommandSession();
const loadBefore = loadAverage();
try {
  const stacks: Record<string, CheckoutStack> = {
    [NOW]: await startCheckout(ROOT, session),
    [BEFORE]: await startCheckout(checkOut(options.before), session),
  };
  const known = await writeBuyers(join(tmpdir(), 'known'), {
    name: 'known',
    count: KNOWN_BUYERS,
    purchasesEach: 1,
  });
  const rounds = await runRounds(
    { rounds: options.rounds, stopping: session.stopping, report: session.step },
    [NOW, BEFORE],
    async (name, round) => {
      const stack = stacks[name]!;
      const wins = await sell(stack, `winner-${round}`);
      const cold = await refuse(stack, await newBuyers(`late-${round}`), 1);
      // The first two passes warm the cache: a token counts as known from its third request on.
      const warm = await refuse(stack, known.file, 3);
      return {
        ...wins,
        refusalMicros: cold.user + cold.system,
        knownRefusalMicros: warm.user + warm.system,
        firstSightUserMicros: cold.user - warm.user,
      };
    },
  );
  const comparisons = comparisonsOf().map((comparison) => compare(rounds, comparison));
  console.log(
    table(
      ['µs of CPU', NOW, BEFORE, 'now ÷ before', 'target'],
      comparisons.map(({ what, metric, median, low, high, atMost, ok }) => [
        what,
        medianOf(rounds, NOW, metric),
        medianOf(rounds, BEFORE, metric),
        `${median.toFixed(2)} (${low.toFixed(2)} – ${high.toFixed(2)})`,
        atMost === undefined ? '' : `≤ ${atMost}${ok ? '' : ', missed'}`,
      ]),
    ),
  );
  const { redisUrl, postgresUrl } = stacks[NOW]!.description;
  await keepBenchResult(
    'cost',
    {
      bench: 'cost',
      before: options.before,
      settings: { connections: CONNECTIONS, secondsEach: options.seconds },
      comparisons,
      rounds,
      loadBefore,
      machine: machine('wrk and the processes of both stacks share these cores'),
      versions: { ...codeVersions(), ...(await serverVersions({ redisUrl, postgresUrl })) },
    },
    options,
  );
  if (comparisons.some(({ ok }) => ok === false)) process.exitCode = 1;
} finally {
  await session.close();
}
process.exit();

function comparisonsOf(): Comparison[] {
  const of = (what: string, metric: string, atMost?: number): Comparison => ({
    what,
    metric,
    of: NOW,
    over: BEFORE,
    ...(atMost === undefined ? {} : { atMost }),
  });
  return [
    of('a durable win, all processes', 'allMicros', 0.6),
    of('a durable win, hot path', 'hotPathMicros', 0.7),
    of('a durable win, Redis', 'redisMicros', 0.62),
    of('a durable win, persister and PostgreSQL', 'rowMicros', 0.58),
    of('a refusal, token never seen', 'refusalMicros', 0.65),
    of('a refusal, token known', 'knownRefusalMicros'),
    of('the first sight of a token, user time', 'firstSightUserMicros', 0.4),
  ];
}

function newBuyers(name: string): Promise<string> {
  const count = PER_SECOND_MAX * options.seconds;
  return writeBuyers(join(tmpdir(), 'new'), { name, count, purchasesEach: 1 }).then(
    ({ file }) => file,
  );
}

function load({ description }: CheckoutStack, saleId: string, file: string, repeats: boolean) {
  return runWrk({
    port: Number(new URL(description.hotPathUrl).port),
    template: buyTemplate(saleId),
    file,
    seconds: options.seconds,
    connections: CONNECTIONS,
    repeats,
    cores: undefined,
    stopping: session.stopping,
  });
}

/** The CPU time of each row, by process. */
async function sell(stack: CheckoutStack, name: string): Promise<Figures> {
  const { pids } = stack.description;
  const saleId = await openCheckoutSale(stack, 1_000_000);
  const file = await newBuyers(name);
  const groups = () => ({
    hotPath: ofAll(pids.hotPath),
    redis: ofAll([pids.redis]),
    persister: ofAll(pids.persister),
    postgres: ofAll([pids.postgres, ...childrenOf(pids.postgres)]),
  });
  const before = groups();
  const wrk = await load(stack, saleId, file, false);
  expect(wrk.refused === 0, `${wrk.refused} buyers were refused`);
  let rows = 0;
  await eventually(async () => {
    const known = rows;
    const [row] = await stack.sql<[{ rows: string }]>`
      SELECT count(*) AS rows FROM reservations WHERE sale_id = ${saleId}`;
    rows = Number(row.rows);
    // The last ones were under way when wrk ended.
    expect(rows >= wrk.requests && rows === known, `${rows} of ${wrk.requests} are rows`);
  }, DRAIN);
  const after = groups();
  const each = (group: keyof typeof before) =>
    ((sum(after[group]) - sum(before[group])) / rows) * 1e6;
  const [hotPathMicros, redisMicros] = [each('hotPath'), each('redis')];
  const rowMicros = each('persister') + each('postgres');
  return {
    winsPerSecond: wrk.perSecond,
    hotPathMicros,
    redisMicros,
    rowMicros,
    persisterMicros: each('persister'),
    postgresMicros: each('postgres'),
    allMicros: hotPathMicros + redisMicros + rowMicros,
  };
}

/** The CPU time of the hot path for each refusal in the last of some passes. */
async function refuse(stack: CheckoutStack, file: string, passes: number): Promise<Cpu> {
  const saleId = await openCheckoutSale(stack, 1);
  const { hotPathUrl, pids } = stack.description;
  const { status } = await fetch(`${hotPathUrl}/v1/sales/${saleId}/buy`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokenOf('the-winner')}` },
  });
  expect(status === 201, `the only unit got ${status}`);
  await sleep(SETTLE_MS);
  let each: Cpu = { user: 0, system: 0 };
  for (let pass = 0; pass < passes; pass++) {
    const before = ofAll(pids.hotPath);
    const wrk = await load(stack, saleId, file, passes > 1);
    const after = ofAll(pids.hotPath);
    expect(wrk.refused === wrk.requests, 'somebody was not refused');
    expect(passes === 1 || wrk.requests >= KNOWN_BUYERS, 'a pass has not reached every buyer');
    each = {
      user: ((after.user - before.user) / wrk.requests) * 1e6,
      system: ((after.system - before.system) / wrk.requests) * 1e6,
    };
  }
  return each;
}

function ofAll(pids: readonly number[]): Cpu {
  const all = pids.map((pid) => cpuOf(pid, { withEnded: true }));
  return {
    user: all.reduce((seconds, { user }) => seconds + user, 0),
    system: all.reduce((seconds, { system }) => seconds + system, 0),
  };
}

function sum({ user, system }: Cpu): number {
  return user + system;
}

function medianOf(rounds: readonly Round[], name: string, metric: string): string {
  return spreadOf(rounds.map((round) => round[name]![metric]!)).median.toFixed(1);
}
