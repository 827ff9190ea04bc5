/**
 * The private stack: Redis and PostgreSQL of its own, and the engine's processes on top, each supervised.
 *
 * Starts: lock on the home → what a killed supervisor left → settings and ports → Redis, PostgreSQL → migrations →
 * hot-path, persister, admin → stack.json. Stops: who takes orders first, then the persister, so that it can drain,
 * the servers last.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Fault } from '../../domain/fault.ts';
import type { RunningProcess } from '../../process/lifecycle.ts';
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

/** More than the children's own deadlines together, should each of them use all of its own. */
export const STACK_CLOSE_DEADLINE_MS = 90_000;
/** A little more than what `runUntilStopped` gives itself. */
const NODE_STOP_DEADLINE_MS = 12_000;
const PROBE_TIMEOUT_MS = 1_000;

export interface Stack extends RunningProcess {
  readonly description: StackDescription;
}

export interface StackOptions {
  /** Throws away what earlier runs left: both servers' data, secrets, logs. */
  fresh: boolean;
  env: NodeJS.ProcessEnv;
  /** What people are told to type again when they have to change something. */
  command: string;
  /** News for people, a line each. */
  tell: (line: string) => void;
}

/**
 * Resolves when every process says that it is ready. When it does not come to that, or `stopping` is aborted
 * meanwhile, whatever had been started is stopped before this throws.
 */
export async function startStack(options: StackOptions, stopping: AbortSignal): Promise<Stack> {
  const home = locateHome(options.env);
  const release = acquireHome(home);
  const stack = new SupervisedStack(home, options.tell);
  process.on('exit', stack.signalAll);
  const close = async () => {
    await stack.stop();
    process.off('exit', stack.signalAll);
    removeStackDescription(home);
    release();
  };
  try {
    await stack.stopLeftovers();
    removeStackDescription(home);
    if (options.fresh) emptyHome(home);
    for (const variable of ['REDIS_URL', 'DATABASE_URL']) {
      if (options.env[variable]) options.tell(`${variable} is not used: the stack runs its own`);
    }
    const settings = await resolveStackSettings(options.env, loadSecrets(home), options.command);
    await stack.startServers(settings, stopping);
    await migrate(home, settings, stopping);
    await stack.startEngine(settings, stopping);
    const description = stack.announce(settings);
    options.tell(
      `Ready: buyers ${description.hotPathUrl}, operators ${description.adminUrl}; tokens are in ${home.stackFile}`,
    );
    let closed: Promise<void> | undefined;
    return {
      description,
      close: () => {
        closed ??= close();
        return closed;
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

class SupervisedStack {
  readonly #home: Home;
  readonly #tell: (line: string) => void;
  readonly #records: ChildRecords;
  #redis: SupervisedProcess | undefined;
  #postgres: SupervisedProcess | undefined;
  #hotPath: SupervisedProcess[] = [];
  readonly #hotPathMetrics = new WorkerMetrics(() => this.#hotPath);
  #persister: SupervisedProcess | undefined;
  #admin: SupervisedProcess | undefined;
  /** Set once people have been told; from then on stack.json follows every new pid. */
  #announced: StackSettings | undefined;

  constructor(home: Home, tell: (line: string) => void) {
    this.#home = home;
    this.#tell = tell;
    this.#records = new ChildRecords(home.children);
  }

  /**
   * The last resort, should this process end without stopping first, by an exception: asks all to stop and can not
   * wait for it. Node processes would notice by themselves, the servers would not.
   */
  readonly signalAll = (): void => {
    for (const process of this.#all()) process.signalStop();
  };

  async stopLeftovers(): Promise<void> {
    const names = await this.#records.stopLeftovers();
    if (names.length > 0) this.#tell(`stopped what a killed stack had left: ${names.join(', ')}`);
  }

  async startServers(settings: StackSettings, stopping: AbortSignal): Promise<void> {
    const { secrets, ports, durability } = settings;
    const redis = preparePrivateRedis(this.#home, {
      port: ports.redis,
      password: secrets.redisPassword,
      durability,
    });
    this.#redis = this.#start(redis.plan);
    this.#tell(`Redis ${redis.version} on 127.0.0.1:${ports.redis}`);
    const postgres = await preparePrivatePostgres(this.#home, {
      port: ports.postgres,
      password: secrets.postgresPassword,
    });
    stopping.throwIfAborted();
    this.#postgres = this.#start(postgres.plan);
    this.#tell(`PostgreSQL ${postgres.version} on 127.0.0.1:${ports.postgres}`);
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
        ...this.#hotPath.map((process) => answersReady(process, urlOf(host, ports.hotPath))),
        answersReady(this.#persister, urlOf(host, ports.persister)),
        answersReady(this.#admin, urlOf(host, ports.admin)),
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

  /** In the order of stopping. */
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
      onUnexpectedExit: this.#tell,
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

/** In a process of its own, as in production, so that the stack needs nothing of the engine but its command line. */
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
 * Workers that share a port cannot be asked one by one over it, so each says over its channel that it has started;
 * the question over HTTP then adds that the servers behind it answer.
 */
function answersReady(process: SupervisedProcess, url: string): AwaitedProcess {
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

/** Where to reach what listens on `host`: an address that means every interface is none to connect to. */
function urlOf(host: string, port: number): string {
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}
