/**
 * A server as a child process that a test can stop, kill, freeze and start again with the same data. Each process
 * leaves a record for the test runner, so that no server survives its test, even if the test crashes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { processIdentity } from '../../src/process/supervisor/process-identity.mjs';
import { type Scope, use } from '../use.ts';
import { childrenOf, recordProcess, signalIfRunning } from './process-records.ts';

export interface ServerPlan {
  command: string;
  args: string[];
  /** The user to run the server as; our own by default. */
  user?: { uid: number; gid: number } | undefined;
  /** Further variables of its environment. */
  env?: Record<string, string>;
  stopSignal: NodeJS.Signals;
  /** Rejects or resolves to false while the server does not respond yet. */
  isReady: () => Promise<boolean>;
}

const READY_MS_MAX = 60_000;
const POLL_MS = 25;
const STOP_MS_MAX = 10_000;

export class ServerProcess {
  readonly #plan: ServerPlan;
  #child: ChildProcess | undefined;
  #output = '';
  #isPaused = false;

  private constructor(plan: ServerPlan) {
    this.#plan = plan;
  }

  static async start(plan: ServerPlan): Promise<ServerProcess> {
    const server = new ServerProcess(plan);
    await server.start();
    return server;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.#plan.command} is not running`);
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && RUNNING.has(this.#child);
  }

  /** Resolves when the server is ready. After `stop` or `kill` it starts again with the same data. */
  async start(): Promise<void> {
    const { command, args, user, env } = this.#plan;
    this.#output = '';
    const child = spawn(command, args, {
      ...user,
      cwd: '/',
      detached: isShielded,
      env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.on('data', (chunk) => this.#keep(String(chunk)));
    child.stderr.on('data', (chunk) => this.#keep(String(chunk)));
    child.on('error', (error) => this.#keep(error.message));
    this.#child = child;
    RUNNING.add(child);
    recordProcess(child);
    child.once('exit', () => RUNNING.delete(child));
    await this.#untilReady(child);
  }

  /** A graceful shutdown, or `kill` if the server refuses to stop: Redis does, while it writes its first file. */
  async stop(): Promise<void> {
    this.resume();
    let killed: Promise<void> | undefined;
    const deadline = setTimeout(() => {
      killed = this.kill();
    }, STOP_MS_MAX);
    await this.#end(this.#plan.stopSignal);
    clearTimeout(deadline);
    await killed;
  }

  /**
   * SIGKILL for the server and its child processes: like a power cut, except that the operating system's caches
   * survive. PostgreSQL does not start again while a child process of the old server lives.
   */
  async kill(): Promise<void> {
    if (!this.isRunning) return;
    // A frozen server starts no further child processes.
    process.kill(this.pid, 'SIGSTOP');
    const children = childrenOf(this.pid);
    await this.#end('SIGKILL');
    for (const pid of children) signalIfRunning(pid, 'SIGKILL');
    while (children.some(isAlive)) await sleep(POLL_MS);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Freezes the server and its child processes: connections stay open, nothing responds. */
  pause(): void {
    if (!this.isRunning) return;
    this.#isPaused = true;
    freeze(this.pid);
  }

  resume(): void {
    if (this.#isPaused && this.isRunning) thaw(this.pid);
    this.#isPaused = false;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || !RUNNING.has(child)) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await exited;
  }

  async #untilReady(child: ChildProcess): Promise<void> {
    const deadlineMs = performance.now() + READY_MS_MAX;
    while (performance.now() < deadlineMs) {
      if (!RUNNING.has(child)) break;
      if (await this.#plan.isReady().catch(() => false)) return;
      await sleep(POLL_MS);
    }
    child.kill('SIGKILL');
    throw new Error(`${this.#plan.command} did not become ready:\n${this.#output}`);
  }

  #keep(text: string): void {
    this.#output = (this.#output + text).slice(-8_000);
  }
}

export interface TestServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly isRunning: boolean;
  /** Shuts it down and removes its data. */
  stop(): Promise<void>;
  /** SIGKILL; `start` brings it back with the data that it had written. */
  kill(): Promise<void>;
  /** A graceful restart with all data. */
  restart(): Promise<void>;
  start(): Promise<void>;
  /** Freezes it: connections stay open, nothing responds. */
  pause(): void;
  resume(): void;
}

export function asTestServer(
  server: ServerProcess,
  url: string,
  port: number,
  directory: string,
): TestServer {
  return {
    url,
    port,
    get pid() {
      return server.pid;
    },
    get isRunning() {
      return server.isRunning;
    },
    stop: async () => {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
    kill: () => server.kill(),
    restart: () => server.restart(),
    start: () => server.start(),
    pause: () => server.pause(),
    resume: () => server.resume(),
  };
}

/** Freezes a server. It resumes with the scope, if the test has not resumed it before. */
export async function usePause(scope: Scope, server: TestServer): Promise<void> {
  await use(
    scope,
    () => server.pause(),
    () => server.resume(),
  );
}

/** Stops a process and its children by SIGSTOP. */
export function freeze(pid: number): void {
  signalFamily(pid, 'SIGSTOP');
}

export function thaw(pid: number): void {
  signalFamily(pid, 'SIGCONT');
}

/** PostgreSQL's backends leave their parent's process group, so they are found by their parent's id. */
function signalFamily(pid: number, signal: NodeJS.Signals): void {
  process.kill(pid, signal);
  for (const child of childrenOf(pid)) signalIfRunning(child, signal);
}

function isAlive(pid: number): boolean {
  return processIdentity(pid) !== undefined;
}

let isShielded = false;

/** Servers started from now on do not receive the terminal's Ctrl-C: for a program that catches it and stops them. */
export function shieldServersFromTerminal(): void {
  isShielded = true;
}

const RUNNING = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of RUNNING) child.kill('SIGKILL');
});
