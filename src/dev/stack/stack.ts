/**
 * The private stack: its own Redis and PostgreSQL and the processes of the engine, each supervised.
 *
 * Start: lock the home → stop leftovers of a killed supervisor → settings and ports → Redis, PostgreSQL → migrations →
 * hot-path, persister, admin → stack.json. Stop: hot-path and admin, then the persister, so that it can drain the
 * stream, then both servers.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Fault } from '../../domain/fault.ts';
import { closeOnce, type RunningProcess } from '../../process/lifecycle.ts';
import { WorkerMetrics } from '../../process/metrics.ts';
import { ChildRecords } from '../../process/supervisor/child-records.ts';
import { ProcessLog } from '../../process/supervisor/process-log.ts';
import { type AwaitedProcess, waitUntilReady } from '../../process/supervisor/readiness.ts';
import {
  MAIN_MODULE,
  type ProcessPlan,
  SupervisedProcess,
} from '../../process/supervisor/supervised-process.ts';
import { acquireHome, emptyHome, type Home, locateHome } from './home.ts';
import { preparePrivatePostgres } from './private-postgres.ts';
import { preparePrivateRedis } from './private-redis.ts';
import { loadSecrets } from './secrets.ts';
import {
  removeStackDescription,
  type StackDescription,
  writeStackDescription,
} from './stack-description.ts';
import { resolveStackSettings, type StackSettings } from './stack-settings.ts';

/** More than the sum of the children's deadlines. */
export const STACK_CLOSE_DEADLINE_MS = 90_000;
/** A little more than the deadline of `runUntilStopped`. */
const NODE_STOP_DEADLINE_MS = 12_000;
const PROBE_TIMEOUT_MS = 1_000;

export interface Stack extends RunningProcess {
  readonly description: StackDescription;
}

export interface StackOptions {
  /** Deletes the data, secrets and logs of earlier runs. */
  fresh: boolean;
  env: NodeJS.ProcessEnv;
  /** The command that messages suggest to repeat. */
  command: string;
  /** Receives progress, one line at a time. */
  report: (line: string) => void;
}

/** Resolves when every process is ready. On a failure or an abort, stops what it has started before it throws. */
export async function startStack(options: StackOptions, stopping: AbortSignal): Promise<Stack> {
  const home = locateHome(options.env);
  const release = acquireHome(home);
  const stack = new SupervisedStack(home, options.report);
  process.on('exit', stack.signalAll);
  const close = async () => {
    await stack.stop();
    process.off('exit', stack.signalAll);
    removeStackDescription(home);
    release();
    options.report(
      `Stopped. The data stays in ${home.directory}; --fresh deletes it at the next start.`,
    );
  };
  try {
    await stack.stopLeftovers();
    removeStackDescription(home);
    if (options.fresh) emptyHome(home);
    for (const variable of ['REDIS_URL', 'DATABASE_URL']) {
      if (options.env[variable])
        options.report(`${variable} is ignored: the stack runs its own server`);
    }
    const settings = await resolveStackSettings(options.env, loadSecrets(home), options.command);
    await stack.startServers(settings, stopping);
    await migrate(home, settings, stopping);
    await stack.startEngine(settings, stopping);
    const description = stack.announce(settings);
    options.report(
      `Ready: buyers ${description.hotPathUrl}, operators ${description.adminUrl}; tokens are in ${home.stackFile}`,
    );
    return { description, close: closeOnce(close) };
  } catch (error) {
    await close();
    throw error;
  }
}

class SupervisedStack {
  readonly #home: Home;
  readonly #report: (line: string) => void;
  readonly #records: ChildRecords;
  #redis: SupervisedProcess | undefined;
  #postgres: SupervisedProcess | undefined;
  #hotPath: SupervisedProcess[] = [];
  readonly #hotPathMetrics = new WorkerMetrics(() => this.#hotPath);
  #persister: SupervisedProcess | undefined;
  #admin: SupervisedProcess | undefined;
  /** Set once stack.json is written; from then on every new pid updates the file. */
  #announced: StackSettings | undefined;

  constructor(home: Home, report: (line: string) => void) {
    this.#home = home;
    this.#report = report;
    this.#records = new ChildRecords(home.children);
  }

  /** For a process that ends by an exception: it cannot wait, and the servers do not stop by themselves. */
  readonly signalAll = (): void => {
    for (const process of this.#all()) process.signalStop();
  };

  async stopLeftovers(): Promise<void> {
    const names = await this.#records.stopLeftovers();
    if (names.length > 0)
      this.#report(`stopped the leftovers of a killed stack: ${names.join(', ')}`);
  }

  async startServers(settings: StackSettings, stopping: AbortSignal): Promise<void> {
    const { secrets, ports, durability } = settings;
    const redis = preparePrivateRedis(this.#home, {
      port: ports.redis,
      password: secrets.redisPassword,
      durability,
    });
    this.#redis = this.#start(redis.plan);
    this.#report(`Redis ${redis.version} on 127.0.0.1:${ports.redis}`);
    const postgres = await preparePrivatePostgres(this.#home, {
      port: ports.postgres,
      password: secrets.postgresPassword,
    });
    stopping.throwIfAborted();
    this.#postgres = this.#start(postgres.plan);
    this.#report(`PostgreSQL ${postgres.version} on 127.0.0.1:${ports.postgres}`);
    await waitUntilReady(
      [
        { process: this.#redis, isReady: redis.isReady },
        { process: this.#postgres, isReady: postgres.isReady },
      ],
      stopping,
    );
  }

  async startEngine(settings: StackSettings, stopping: AbortSignal): Promise<void> {
    const { ports, host, env, hotPathWorkers } = settings;
    const engineProcess = (name: string, ...args: string[]) =>
      this.#start({
        name,
        kind: 'node',
        command: process.execPath,
        args: [MAIN_MODULE, ...args],
        env,
        stopSignal: 'SIGTERM',
        stopDeadlineMs: NODE_STOP_DEADLINE_MS,
      });
    for (let worker = 1; worker <= hotPathWorkers; worker += 1) {
      this.#hotPath.push(engineProcess(`hot-path-${worker}`, 'hot-path', '--share-port'));
    }
    this.#persister = engineProcess('persister', 'persister');
    this.#admin = engineProcess('admin', 'admin');
    await waitUntilReady(
      [
        ...this.#hotPath.map((process) => untilReady(process, urlOf(host, ports.hotPath))),
        untilReady(this.#persister, urlOf(host, ports.persister)),
        untilReady(this.#admin, urlOf(host, ports.admin)),
      ],
      stopping,
    );
  }

  announce(settings: StackSettings): StackDescription {
    this.#announced = settings;
    const description = this.#describe(settings);
    writeStackDescription(this.#home, description);
    return description;
  }

  async stop(): Promise<void> {
    this.#announced = undefined;
    await Promise.all(this.#hotPath.map((process) => process.stop()));
    for (const process of this.#all()) await process.stop();
  }

  /** In the order in which they stop. */
  #all(): SupervisedProcess[] {
    return [...this.#hotPath, this.#admin, this.#persister, this.#redis, this.#postgres].filter(
      (process) => process !== undefined,
    );
  }

  #start(plan: ProcessPlan): SupervisedProcess {
    const process = new SupervisedProcess(plan, {
      log: new ProcessLog(this.#home.logs, plan.name),
      records: this.#records,
      onSpawn: () => {
        if (this.#announced) writeStackDescription(this.#home, this.#describe(this.#announced));
      },
      onUnexpectedExit: this.#report,
      onMessage: (child, message) => this.#hotPathMetrics.receive(child, message),
    });
    process.start();
    return process;
  }

  #describe({ env, ports, host, secrets, jwtSecret }: StackSettings): StackDescription {
    return {
      hotPathUrl: urlOf(host, ports.hotPath),
      adminUrl: urlOf(host, ports.admin),
      redisUrl: env.REDIS_URL!,
      postgresUrl: env.DATABASE_URL!,
      adminToken: secrets.adminToken,
      merchantToken: secrets.merchantToken,
      jwtSecret,
      pids: {
        redis: this.#redis!.pid,
        postgres: this.#postgres!.pid,
        hotPath: this.#hotPath.map((process) => process.pid),
        persister: [this.#persister!.pid],
        admin: this.#admin!.pid,
      },
    };
  }
}

/** Runs in a process, as in production: the stack uses only the command line of the engine. */
async function migrate(home: Home, { env }: StackSettings, stopping: AbortSignal): Promise<void> {
  const log = new ProcessLog(home.logs, 'migrate');
  try {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [MAIN_MODULE, 'migrate'],
      {
        env,
        signal: stopping,
      },
    );
    log.write(stdout + stderr);
  } catch (error) {
    stopping.throwIfAborted();
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    log.write(stdout + stderr);
    throw new Fault('server_unfit', `The migrations failed:\n${stderr.trim()}`, { cause: error });
  } finally {
    await log.close();
  }
}

/**
 * A request to a shared port reaches any of its workers, so each worker also reports over its channel that it has
 * started. `/readyz` adds that Redis and PostgreSQL are available.
 */
function untilReady(process: SupervisedProcess, url: string): AwaitedProcess {
  return {
    process,
    isReady: async () => {
      if (!process.hasStarted) return false;
      const response = await fetch(`${url}/readyz`, {
        signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
      });
      await response.body?.cancel();
      return response.ok;
    },
  };
}

/** The URL of a server that listens on `host`; the addresses for every interface cannot be connected to. */
function urlOf(host: string, port: number): string {
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}
