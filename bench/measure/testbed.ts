/**
 * The one place that starts and stops what a scenario needs: a Redis and a PostgreSQL as the private stack has them,
 * and processes under test. All end with the stage, or with this process, however that ends.
 *
 * Cores. With `apart` each process under test has the first core, and wrk and the servers share the others: then what is
 * measured is what one core can serve, whoever presses. Without it the scheduler places everything, as it does with a
 * whole stack. Both were tried
 * with `--only reach`, five rounds each, one after the other on two busy cores: placed, the rounds differed less. That was
 * not alternated, so it is a hint and no measurement.
 */
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeSale, type SaleChoices } from '../../harness/sales/sales.ts';
import { type Connections, connect } from '../../harness/servers/connections.ts';
import { acquireHome, locateHome } from '../../src/dev/stack/home.ts';
import {
  preparePrivatePostgres,
  privatePostgresUrl,
} from '../../src/dev/stack/private-postgres.ts';
import { preparePrivateRedis, privateRedisUrl } from '../../src/dev/stack/private-redis.ts';
import { SALE_KEYS, saleKey } from '../../src/lua/keys.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import { findFreePorts } from '../../src/process/free-port.ts';
import { waitUntilReady } from '../../src/process/supervisor/readiness.ts';
import {
  type ProcessPlan,
  SupervisedProcess,
} from '../../src/process/supervisor/supervised-process.ts';

export type Durability = 'fast' | 'safe';

export interface TestbedChoices {
  durability?: Durability;
  /** See the head of this file. */
  apart?: boolean;
  stopping: AbortSignal;
}

/** A process that was started on a stage. */
export interface Started {
  readonly pid: number;
  /** On the loopback. */
  readonly port: number;
  /** User and system time since it started. */
  cpuSeconds(): number;
  /** Where it answers `/readyz`. */
  readonly url: string;
  /** As plain as it gets, e.g. SIGSTOP. */
  signal(signal: NodeJS.Signals): void;
  stop(): Promise<void>;
}

export interface Testbed {
  /** Goes with the stage. */
  readonly directory: string;
  readonly durability: Durability;
  readonly redisUrl: string;
  readonly postgresUrl: string;
  readonly servers: Connections;
  /** Where wrk belongs, as `taskset` takes it; undefined: anywhere. */
  readonly loadCores: string | undefined;
  readonly stopping: AbortSignal;
  /** A Node program that serves on the port in `portVariable`; resolves when its `/readyz` says yes. */
  start(name: string, program: Program): Promise<Started>;
  /** An open sale of one SKU, `unit`, whose holds do not end. */
  openSale(choices: SaleChoices): Promise<string>;
  /** Out of Redis, with its file rewritten, so that each round begins with as little as the first. */
  removeSale(saleId: string, otherKeys?: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

export interface Program {
  /** The path of a module, and its arguments. */
  args: readonly string[];
  portVariable: string;
  env: Record<string, string>;
}

const TICKS_PER_SECOND = 100;
const STOP_DEADLINE_MS = 15_000;
export const HOLD_SECONDS = 24 * 3_600;
const REWRITE_POLL_MS = 10;
/** Characters of a log, for the message when its process dies. */
const LAST_WORDS_MAX = 4_000;
/** Of the servers; they listen on the loopback and live for a bench. */
const PASSWORD = 'bench';

export async function openTestbed(choices: TestbedChoices): Promise<Testbed> {
  const { durability = 'safe', stopping } = choices;
  const cores = coresOf(choices.apart ?? false);
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-bench-'));
  // PostgreSQL's own user has to get in.
  chmodSync(directory, 0o711);
  const home = locateHome({ FLASH_SALE_HOME: directory });
  const release = acquireHome(home);
  const processes: SupervisedProcess[] = [];
  const endAtOnce = () => {
    for (const each of processes) each.signalStop();
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  };
  process.once('exit', endAtOnce);
  let servers: Connections | undefined;
  let died: Error | undefined;

  const supervise = (plan: ProcessPlan, core: string | undefined): SupervisedProcess => {
    const log = join(directory, `${plan.name}.log`);
    writeFileSync(log, '');
    if (plan.user) chownSync(log, plan.user.uid, plan.user.gid);
    const supervised = new SupervisedProcess(placed(plan, core, log), {
      // What starts again by itself would be measured as if nothing had been.
      onUnexpectedExit: (sentence) => {
        died = new Error(`${sentence}\n${readFileSync(log, 'utf8').slice(-LAST_WORDS_MAX)}`);
      },
    });
    processes.push(supervised);
    supervised.start();
    return supervised;
  };
  const close = async () => {
    servers?.shards.close();
    await servers?.sql.end({ timeout: 2 });
    for (const each of processes.toReversed()) await each.stop();
    process.off('exit', endAtOnce);
    release();
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
    if (died && !stopping.aborted) throw died;
  };

  try {
    const [redisPort, postgresPort] = (await findFreePorts(2)) as [number, number];
    const redisSettings = { port: redisPort, password: PASSWORD, durability };
    const postgresSettings = { port: postgresPort, password: PASSWORD };
    const redis = preparePrivateRedis(home, redisSettings);
    const postgres = await preparePrivatePostgres(home, postgresSettings);
    await waitUntilReady(
      [redis, postgres].map(({ plan, isReady }) => ({
        process: supervise(plan, cores.others),
        isReady,
      })),
      stopping,
    );
    const redisUrl = privateRedisUrl(redisSettings);
    const postgresUrl = privatePostgresUrl(postgresSettings);
    await migrate(postgresUrl, () => undefined);
    const connections = await connect(redisUrl, postgresUrl);
    servers = connections;
    const { client } = connections.shards.of('any');
    // A rewrite of the append-only file would fall on whoever is measured just then: `removeSale` makes one instead.
    await client.config('SET', 'auto-aof-rewrite-percentage', '0');

    return {
      directory,
      durability,
      redisUrl,
      postgresUrl,
      servers: connections,
      loadCores: cores.others,
      stopping,
      async start(name, { args, portVariable, env }) {
        const [port] = (await findFreePorts(1)) as [number];
        const supervised = supervise(
          {
            name: name.replaceAll(/\W+/g, '-'),
            kind: 'node',
            command: process.execPath,
            args,
            env: {
              PATH: process.env.PATH,
              NODE_ENV: 'production',
              ...env,
              [portVariable]: `${port}`,
            },
            stopSignal: 'SIGTERM',
            stopDeadlineMs: STOP_DEADLINE_MS,
          },
          cores.contestants,
        );
        const url = `http://127.0.0.1:${port}`;
        const isReady = async () => (await fetch(`${url}/readyz`)).status === 200;
        await waitUntilReady([{ process: supervised, isReady }], stopping);
        return {
          get pid() {
            return supervised.pid;
          },
          port,
          url,
          cpuSeconds() {
            if (died) throw died;
            return cpuSecondsOf(supervised.pid);
          },
          signal: (signal) => process.kill(supervised.pid, signal),
          stop: () => supervised.stop(),
        };
      },
      async openSale(saleChoices) {
        const { saleId } = await makeSale(connections, {
          holdSeconds: HOLD_SECONDS,
          ...saleChoices,
        });
        return saleId;
      },
      async removeSale(saleId, otherKeys = []) {
        await client.unlink(...SALE_KEYS.map((key) => saleKey(saleId, key)), ...otherKeys);
        await client.bgrewriteaof();
        const isBusy = async () =>
          /aof_rewrite_(in_progress|scheduled):1/.test(await client.info('persistence')) ||
          !/lazyfree_pending_objects:0/.test(await client.info('memory'));
        while (await isBusy()) {
          await sleep(REWRITE_POLL_MS, undefined, { signal: stopping });
        }
      },
      close,
    };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
}

interface Cores {
  contestants: string | undefined;
  others: string | undefined;
}

/** Linux only, and of no use with a single core. */
function coresOf(apart: boolean): Cores {
  const count = availableParallelism();
  if (!apart || count < 2) return { contestants: undefined, others: undefined };
  return { contestants: '0', others: count === 2 ? '1' : `1-${count - 1}` };
}

/**
 * On its cores; logging straight to a file, for whoever passed that on would be at work where something is measured; and
 * ended by the kernel should this process be killed: servers, unlike the engine's own processes, do not notice.
 */
function placed(plan: ProcessPlan, cores: string | undefined, log: string): ProcessPlan {
  const wrapped = ['sh', '-c', 'exec "$@" >"$0" 2>&1', log, plan.command, ...plan.args];
  if (cores !== undefined) wrapped.unshift('taskset', '-c', cores);
  if (plan.kind === 'server') wrapped.unshift('setpriv', '--pdeathsig', plan.stopSignal.slice(3));
  return { ...plan, command: wrapped[0]!, args: wrapped.slice(1) };
}

function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // After the name, which may hold anything: state first, user and system time as the 12th and 13th.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
