/**
 * Starts and stops what a scenario needs: Redis and PostgreSQL with the private stack's settings, and processes under
 * test. All end with the testbed, or with this process.
 *
 * Cores: with `apart`, each process under test has the first core, and wrk and the servers share the others. Then the
 * result is what one core can serve. Without it the scheduler places everything, as in a whole stack. In one
 * comparison (`--only reach`, five rounds each, not alternated) rounds varied less with `apart`.
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
import { cpuSecondsOf } from './process-cpu.ts';

export type Durability = 'fast' | 'safe';

export interface TestbedChoices {
  durability?: Durability;
  /** See the head of this file. */
  apart?: boolean;
  stopping: AbortSignal;
}

/** A process on a testbed. */
export interface Started {
  readonly pid: number;
  readonly port: number;
  /** User and system time since its start. */
  cpuSeconds(): number;
  /** The base URL. */
  readonly url: string;
  /** E.g. SIGSTOP. */
  signal(signal: NodeJS.Signals): void;
  stop(): Promise<void>;
}

export interface Testbed {
  /** Deleted with the testbed. */
  readonly directory: string;
  readonly durability: Durability;
  readonly redisUrl: string;
  readonly postgresUrl: string;
  readonly servers: Connections;
  /** The cores of wrk, in `taskset` syntax; undefined: any. */
  readonly loadCores: string | undefined;
  readonly stopping: AbortSignal;
  /** Starts a Node program that listens on the port in `portVariable`. Resolves when `/readyz` returns 200. */
  start(name: string, program: Program): Promise<Started>;
  /** An open sale of one SKU, `unit`, whose holds do not expire during a bench. */
  openSale(choices: SaleChoices): Promise<string>;
  /** Deletes the sale from Redis and rewrites the append-only file, so that each round starts equal. */
  removeSale(saleId: string, otherKeys?: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

export interface Program {
  /** A module's path and its arguments. */
  args: readonly string[];
  portVariable: string;
  env: Record<string, string>;
}

const STOP_DEADLINE_MS = 15_000;
export const HOLD_SECONDS = 24 * 3_600;
const REWRITE_POLL_MS = 10;
/** Characters of a process log for the error message. */
const LAST_WORDS_MAX = 4_000;
/** The servers listen on the loopback and exist only for a bench. */
const PASSWORD = 'bench';

export async function openTestbed(choices: TestbedChoices): Promise<Testbed> {
  const { durability = 'safe', stopping } = choices;
  const cores = coresOf(choices.apart ?? false);
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-bench-'));
  // PostgreSQL's own user must be able to enter.
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
      // A process that restarted by itself must not be measured as if nothing had happened.
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
    // An automatic rewrite of the append-only file would disturb a measurement; `removeSale` rewrites it between
    // rounds.
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

/** Only on Linux, and not with a single core. */
function coresOf(apart: boolean): Cores {
  const count = availableParallelism();
  if (!apart || count < 2) return { contestants: undefined, others: undefined };
  return { contestants: '0', others: count === 2 ? '1' : `1-${count - 1}` };
}

/**
 * Runs the command on its cores. It logs directly to a file, because forwarding the log would cost CPU time during a
 * measurement. The kernel ends servers if this process is killed; the engine's processes stop by themselves.
 */
function placed(plan: ProcessPlan, cores: string | undefined, log: string): ProcessPlan {
  const wrapped = ['sh', '-c', 'exec "$@" >"$0" 2>&1', log, plan.command, ...plan.args];
  if (cores !== undefined) wrapped.unshift('taskset', '-c', cores);
  if (plan.kind === 'server') wrapped.unshift('setpriv', '--pdeathsig', plan.stopSignal.slice(3));
  return { ...plan, command: wrapped[0]!, args: wrapped.slice(1) };
}
