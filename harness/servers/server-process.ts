/**
 * A server of a test's own, as a child process that can be stopped, killed, frozen and started again in place.
 * Each leaves a record of itself where the runner finds it, so that no way of ending a test leaves one running.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processIdentity } from '../../src/process/process-identity.mjs';
import { freeze, thaw } from './freeze.ts';

export interface ServerPlan {
  command: string;
  args: string[];
  /** Whom to run as, where not as ourselves. */
  user?: { uid: number; gid: number } | undefined;
  stopSignal: NodeJS.Signals;
  /** Rejects or answers false while the server is not there yet. */
  isReady: () => Promise<boolean>;
}

/** Where the runner looks for servers that a test left behind. */
export const RECORDS_VARIABLE = 'TEST_SERVER_RECORDS';

const READY_MS_MAX = 20_000;
const POLL_MS = 25;
const STOP_MS_MAX = 10_000;

export class ServerProcess {
  readonly #plan: ServerPlan;
  #child: ChildProcess | undefined;
  #output = '';

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

  /** Resolves when it answers; after `stop` or `kill`, the same server with the same data again. */
  async start(): Promise<void> {
    const { command, args, user } = this.#plan;
    this.#output = '';
    const child = spawn(command, args, {
      ...user,
      cwd: '/',
      detached: isShielded,
      env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.on('data', (chunk) => this.#keep(String(chunk)));
    child.stderr.on('data', (chunk) => this.#keep(String(chunk)));
    child.on('error', (error) => this.#keep(error.message));
    this.#child = child;
    RUNNING.add(child);
    if (child.pid !== undefined) record(child.pid);
    child.once('exit', () => {
      RUNNING.delete(child);
      if (child.pid !== undefined) forget(child.pid);
    });
    await this.#untilReady(child);
  }

  /** Lets it shut down in order. */
  async stop(): Promise<void> {
    this.resume();
    await this.#end(this.#plan.stopSignal);
  }

  /** As a power cut does, but for what the operating system has in its caches. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Freezes it with all its processes: connections stay open, nothing answers. */
  pause(): void {
    this.#signalFamily(freeze);
  }

  resume(): void {
    this.#signalFamily(thaw);
  }

  #signalFamily(signal: typeof freeze): void {
    const child = this.#child;
    if (child?.pid && RUNNING.has(child)) signal(child.pid);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || !RUNNING.has(child)) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const deadline = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    await exited;
    clearTimeout(deadline);
  }

  async #untilReady(child: ChildProcess): Promise<void> {
    const deadlineMs = performance.now() + READY_MS_MAX;
    while (performance.now() < deadlineMs) {
      if (!RUNNING.has(child)) break;
      if (await this.#plan.isReady().catch(() => false)) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    child.kill('SIGKILL');
    throw new Error(`${this.#plan.command} did not become ready:\n${this.#output}`);
  }

  #keep(text: string): void {
    this.#output = (this.#output + text).slice(-8_000);
  }
}

let isShielded = false;

/** Servers started from now on do not get the Ctrl-C of a terminal: for a program that catches it and stops them. */
export function shieldServersFromTerminal(): void {
  isShielded = true;
}

const RUNNING = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of RUNNING) child.kill('SIGKILL');
});

function record(pid: number): void {
  const directory = process.env[RECORDS_VARIABLE];
  if (directory) writeFileSync(join(directory, String(pid)), processIdentity(pid) ?? '');
}

function forget(pid: number): void {
  const directory = process.env[RECORDS_VARIABLE];
  if (directory) rmSync(join(directory, String(pid)), { force: true });
}
