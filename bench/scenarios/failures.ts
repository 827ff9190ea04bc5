/**
 * The latency of a purchase at a moderate rate while PostgreSQL does not respond, admin is flooded, or the persister
 * is killed, compared with normal operation.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { writeBuyers } from '../load/buyers.ts';
import { buyTemplate, percentile, runWrk } from '../load/wrk.ts';
import { runRounds } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openWholeStack, type WholeStack } from '../measure/whole-stack.ts';

const PER_SECOND = 1_000;
const CONNECTIONS = 128;
const SECONDS_MIN = 3;
const FLOOD_CONNECTIONS = 64;
/** By then the failure has its effect. */
const KINDLING_MS = 300;
const CATCH_UP = { timeoutMs: 60_000 };

const QUIET = 'normal';
/** Starts a failure for the time of a load. The returned function ends it. */
const FIRES: Record<string, (stack: WholeStack, seconds: number) => () => void> = {
  [QUIET]: () => () => undefined,
  'PostgreSQL unresponsive': (stack) => {
    const { postgres } = stack.description().pids;
    freeze(postgres);
    return () => thaw(postgres);
  },
  'admin flooded': (stack, seconds) => {
    const { adminUrl, adminToken } = stack.description();
    const duration = Math.ceil(seconds + KINDLING_MS / 1e3);
    // A lower priority, so that it does not keep the buyers' wrk from reading its responses.
    const flood = spawn(
      'nice',
      [
        '-n19',
        'wrk',
        '-t1',
        `-c${FLOOD_CONNECTIONS}`,
        `-d${duration}s`,
        '-H',
        `Authorization: Bearer ${adminToken}`,
        `${adminUrl}/admin/v1/sales`,
      ],
      { stdio: 'ignore' },
    );
    return () => flood.kill('SIGTERM');
  },
  'persister killed': (stack) => {
    for (const pid of stack.description().pids.persister) process.kill(pid, 'SIGKILL');
    return () => undefined;
  },
};

export const failures: Scenario = {
  name: 'failures',
  title: 'Buying while another part fails',
  async run(options) {
    const seconds = Math.max(options.seconds, SECONDS_MIN);
    const stack = await openWholeStack(options.stopping);
    try {
      const { file } = await writeBuyers(join(stack.directory, 'buyers'), {
        name: 'buyer',
        count: PER_SECOND * (seconds + 1),
        purchasesEach: 1,
      });
      const curves: Record<string, [number, number][]> = {};
      const rounds = await runRounds(options, Object.keys(FIRES), async (name) => {
        const { saleId } = await makeSale(stack.servers, { stock: 1_000_000 });
        const putOut = FIRES[name]!(stack, seconds);
        try {
          await sleep(KINDLING_MS, undefined, { signal: options.stopping });
          const wrk = await runWrk({
            port: stack.hotPathPort,
            template: buyTemplate(saleId),
            file,
            seconds,
            connections: CONNECTIONS,
            perSecond: PER_SECOND,
            repeats: false,
            cores: undefined,
            isUrgent: true,
            stopping: options.stopping,
          });
          expect(wrk.refused === 0, `${wrk.refused} buyers were refused: ${name}`);
          expect(
            wrk.perSecond > PER_SECOND * 0.9,
            `only ${Math.round(wrk.perSecond)} requests per second were served: ${name}`,
          );
          curves[name] = wrk.latencyMs;
          return {
            perSecond: wrk.perSecond,
            p50Ms: percentile(wrk, 50),
            p99Ms: percentile(wrk, 99),
          };
        } finally {
          putOut();
          if (!options.stopping.aborted) await untilCaughtUp(stack, saleId);
        }
      });
      return {
        settings: { perSecond: PER_SECOND, connections: CONNECTIONS, durability: 'safe' },
        rounds,
        comparisons: Object.keys(FIRES)
          .filter((name) => name !== QUIET)
          .map((name) => ({
            what: `p99 latency of a purchase, ${name} ÷ normal`,
            metric: 'p99Ms',
            of: name,
            over: QUIET,
            atMost: 1.3,
          })),
        curves,
      };
    } finally {
      await stack.close();
    }
  },
};

/** The backlog of one turn must not burden the next. */
async function untilCaughtUp({ servers: { shards, sql } }: WholeStack, saleId: string) {
  const sold = await shards.of(saleId).client.llen(saleKey(saleId, 'order'));
  await eventually(async () => {
    const [row] = await sql<{ event: string }[]>`
      SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
    if (Number(row?.event ?? 0) < sold) throw new Error('the persister has not caught up');
  }, CATCH_UP);
}
