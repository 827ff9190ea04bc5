/**
 * The stack of one run: its own Redis servers and database, two hot paths, two persisters and an admin. Each process of
 * the engine runs under the supervisor of `npm start`. A proxy connects each pair of processes that communicates.
 */
import { readFileSync, truncateSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { divertedConnections } from '../harness/engine/diverted-connections.ts';
import { sharedCode } from '../harness/engine/shared-code.ts';
import type { TestPostgres } from '../harness/servers/postgres.ts';
import { recordProcess } from '../harness/servers/process-records.ts';
import type { TestServer } from '../harness/servers/server-process.ts';
import { findFreePorts } from '../src/process/free-port.ts';
import { processIdentity } from '../src/process/supervisor/process-identity.mjs';
import { ProcessLog } from '../src/process/supervisor/process-log.ts';
import { waitUntilReady } from '../src/process/supervisor/readiness.ts';
import { SupervisedProcess } from '../src/process/supervisor/supervised-process.ts';
import type { SaleEndpoints } from './clients/client.ts';
import {
  ENGINE_PROCESSES,
  type EngineProcess,
  isEngineProcess,
  type LinkName,
  type ProcessName,
} from './faults/schedule.ts';
import { type Link, Links } from './links.ts';
import { startTopology } from './topologies/start.ts';
import type { Topology, TopologyName, TopologyServer } from './topologies/topology.ts';

export type Durability = 'fast' | 'safe' | 'replicated';

export interface StackChoices {
  /** The engine's `main.ts`, or that of a broken copy. */
  mainModule: string;
  durability: Durability;
  topology: TopologyName;
  /** The program of the Redis servers; undefined: the machine's Redis. */
  redisCommand?: string | undefined;
  /** Whether their clocks can be set. */
  hasClocks?: boolean;
  /** For the logs of the processes. */
  directory: string;
  saleId: string;
  postgres: TestPostgres;
  /** The run's database on that server. */
  databaseUrl: string;
  /** Ends the start. */
  stopping?: AbortSignal | undefined;
}

const JWT_SECRET = 'a-secret-for-chaos-of-more-than-32-bytes';
const OPERATOR_TOKEN = 'a-token-of-the-operator';
const HOST = '127.0.0.1';
/** PostgreSQL refuses to start while a backend of the killed server still runs. */
const START_TRIES = 20;

export class ChaosStack {
  readonly redis: Topology;
  readonly postgres: TestPostgres;
  readonly databaseUrl: string;
  readonly mainModule: string;
  readonly durability: Durability;
  readonly endpoints: SaleEndpoints;
  readonly #links: Links;
  readonly #processes: Map<EngineProcess, SupervisedProcess>;
  /** Exits of processes that no fault has killed. */
  readonly unexpectedExits: string[] = [];
  readonly #killed = new Set<number>();

  private constructor(
    choices: StackChoices,
    redis: Topology,
    links: Links,
    ports: ReadonlyMap<EngineProcess, number>,
  ) {
    this.redis = redis;
    this.postgres = choices.postgres;
    this.databaseUrl = choices.databaseUrl;
    this.mainModule = choices.mainModule;
    this.durability = choices.durability;
    this.#links = links;
    this.endpoints = {
      saleId: choices.saleId,
      hotPathUrls: [this.#url('buyers>hot-path-1'), this.#url('buyers>hot-path-2')],
      adminUrl: this.#url('operators>admin'),
      jwtSecret: JWT_SECRET,
      operatorToken: OPERATOR_TOKEN,
    };
    this.#processes = new Map(
      ENGINE_PROCESSES.map((name) => [name, this.#supervise(name, ports.get(name)!, choices)]),
    );
  }

  /** Resolves when every process is ready. Throws with the end of its log when one fails. */
  static async start(choices: StackChoices): Promise<ChaosStack> {
    const redis = await startTopology(choices.topology, {
      command: choices.redisCommand,
      hasClocks: choices.hasClocks ?? false,
      appendfsync: choices.durability === 'fast' ? 'everysec' : 'always',
      saleId: choices.saleId,
    });
    const numbers = await findFreePorts(ENGINE_PROCESSES.length);
    const ports = new Map(ENGINE_PROCESSES.map((name, index) => [name, numbers[index]!]));
    const links = await Links.open({
      redis,
      postgresPort: choices.postgres.port,
      portOf: ports,
    });
    const stack = new ChaosStack(choices, redis, links, ports);
    process.once('exit', stack.#killAll);
    try {
      for (const supervised of stack.#processes.values()) supervised.start();
      await waitUntilReady(
        [...stack.#processes].map(([name, supervised]) => ({
          process: supervised,
          isReady: async () =>
            supervised.hasStarted &&
            (await fetch(`http://${HOST}:${ports.get(name)}/readyz`)).status === 200,
        })),
        choices.stopping ?? new AbortController().signal,
      );
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return stack;
  }

  pidOf(name: EngineProcess): number {
    return this.#processes.get(name)!.pid;
  }

  /** `to`: only the part of the link that leads to this Redis server. */
  link(name: LinkName, to?: TopologyServer): Link {
    return this.#links.link(name, to?.announcedPort);
  }

  /** The name of the server that a target means now. Undefined: there is none. */
  async named(target: ProcessName): Promise<ProcessName | undefined> {
    if (target !== 'redis' && target !== 'redis-replica') return target;
    const server = target === 'redis' ? this.redis.master() : this.redis.replica();
    return (await server.catch(() => undefined))?.name;
  }

  /** Separates the server and these processes from all other servers, processes and sentinels. */
  isolate(server: TopologyServer, processes: ReadonlySet<EngineProcess>): void {
    this.redis.isolate(server);
    this.#links.separate(server.announcedPort, processes);
  }

  /** Ends `isolate`. */
  reunite(): void {
    this.redis.heal();
    this.#links.healRedis();
  }

  /** Returns whether the process was running, as the other faults do. */
  async kill(name: ProcessName): Promise<boolean> {
    if (isEngineProcess(name)) return this.#signal(name, 'SIGKILL');
    const server = this.#server(name);
    const wasRunning = server.isRunning;
    await server.kill();
    return wasRunning;
  }

  /** Starts a killed server with its data. The supervisor restarts the engine's processes by itself. */
  async startAgain(name: ProcessName): Promise<void> {
    if (isEngineProcess(name)) return;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#server(name).start();
        return;
      } catch (error) {
        if (attempt === START_TRIES) throw error;
      }
    }
  }

  async restart(name: ProcessName): Promise<boolean> {
    if (isEngineProcess(name)) return this.#signal(name, 'SIGTERM');
    const server = this.#server(name);
    const wasRunning = server.isRunning;
    await server.restart();
    return wasRunning;
  }

  pause(name: ProcessName): boolean {
    if (isEngineProcess(name)) return this.#signal(name, 'SIGSTOP');
    const server = this.#server(name);
    server.pause();
    return server.isRunning;
  }

  resume(name: ProcessName): void {
    if (isEngineProcess(name)) this.#signal(name, 'SIGCONT');
    else this.#server(name).resume();
  }

  /** While Redis, a single server, is down. */
  async loseRedisDisk(): Promise<void> {
    const [{ directory }] = this.redis.servers as [TopologyServer];
    for (const name of await readdir(directory)) {
      await rm(join(directory, name), { recursive: true, force: true });
    }
  }

  /** While Redis, a single server, is down: removes the end of the append-only file, as if it had not been synced. */
  async loseRedisTail(bytes: number): Promise<void> {
    const [redis] = this.redis.servers as [TopologyServer];
    const directory = join(redis.directory, 'appendonlydir');
    const files = (await readdir(directory)).filter((name) => name.endsWith('.incr.aof'));
    const newest = join(directory, files.sort().at(-1)!);
    truncateSync(newest, Math.max(0, readFileSync(newest).length - bytes));
  }

  /** Resumes all processes and restores all links. Killed servers must run again before. */
  heal(): void {
    this.#links.heal();
    this.redis.heal();
    for (const name of ENGINE_PROCESSES) this.resume(name);
  }

  async stop(): Promise<void> {
    process.off('exit', this.#killAll);
    this.heal();
    await Promise.all([...this.#processes.values()].map((supervised) => supervised.stop()));
    await this.#links.close();
    await this.redis.stop();
  }

  /** Children end by themselves when this process ends, except frozen ones. */
  readonly #killAll = (): void => {
    for (const supervised of this.#processes.values()) supervised.signalStop();
  };

  #signal(name: EngineProcess, signal: NodeJS.Signals): boolean {
    const { pid } = this.#processes.get(name)!;
    // It has already ended, and the supervisor is about to restart it.
    if (processIdentity(pid) === undefined) return false;
    if (signal === 'SIGKILL' || signal === 'SIGTERM') this.#killed.add(pid);
    try {
      process.kill(pid, signal);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      return false;
    }
  }

  #supervise(name: EngineProcess, port: number, choices: StackChoices): SupervisedProcess {
    const subcommand = name.replace(/-\d$/, '');
    const databaseUrl = Object.assign(new URL(choices.databaseUrl), {
      port: String(this.#links.portOf(`${name}>postgres` as LinkName) ?? 0),
    });
    const supervised: SupervisedProcess = new SupervisedProcess(
      {
        name,
        kind: 'node',
        command: process.execPath,
        args: [choices.mainModule, subcommand],
        env: {
          PATH: process.env.PATH,
          ...sharedCode(),
          ...divertedConnections(this.#links.portsOf(`${name}>redis`)),
          HOST,
          LOG_LEVEL: subcommand === 'hot-path' ? 'warn' : 'info',
          DURABILITY: choices.durability,
          REDIS_URL: this.redis.url,
          DATABASE_URL: databaseUrl.href,
          JWT_SECRET,
          ADMIN_TOKENS: `operator:${OPERATOR_TOKEN}`,
          HOT_PATH_PORT: String(port),
          PERSISTER_PORT: String(port),
          ADMIN_PORT: String(port),
        },
        stopSignal: 'SIGKILL',
        stopDeadlineMs: 5_000,
      },
      {
        log: new ProcessLog(choices.directory, name),
        onSpawn: () => recordProcess(supervised),
        onUnexpectedExit: (sentence) => {
          if (!this.#killed.has(supervised.pid)) this.unexpectedExits.push(sentence);
        },
      },
    );
    return supervised;
  }

  #server(name: Exclude<ProcessName, EngineProcess>): TestServer {
    if (name === 'postgres') return this.postgres;
    return this.redis.servers.find((server) => server.name === name)!;
  }

  #url(link: LinkName): string {
    return `http://${HOST}:${this.#links.portOf(link)}`;
  }
}
