/**
 * Keeps one child process up: restarts it with backoff when it ends, and stops it by a signal and a deadline.
 *
 * States: idle → running ⇄ waiting (ended; restarts after the backoff) → stopped. Only `stop` and `signalStop` lead to
 * stopped, which is final.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { backoffMs } from '../backoff.ts';
import { STARTED_MESSAGE } from '../lifecycle.ts';
import type { ChildKind, ChildRecords } from './child-records.ts';
import type { ProcessLog } from './process-log.ts';

/** The command line, `flash-sale …`, with which a supervisor starts processes of the engine. */
export const MAIN_MODULE = fileURLToPath(new URL('../../main.ts', import.meta.url));

export interface ProcessPlan {
  name: string;
  kind: ChildKind;
  command: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** Runs as this user instead of the current one. */
  user?: { uid: number; gid: number };
  stopSignal: NodeJS.Signals;
  /** Time after which a stop sends SIGKILL. */
  stopDeadlineMs: number;
}

export interface Supervision {
  /** Receives the output, which otherwise goes to that of this process. */
  log?: ProcessLog;
  records?: ChildRecords;
  /** Called when the child gets a new pid. */
  onSpawn?: () => void;
  /** Called when the child ends without a request to stop. */
  onUnexpectedExit?: (sentence: string) => void;
  /** Receives every message of the child except that it has started. */
  onMessage?: (child: SupervisedProcess, message: unknown) => void;
}

const BACKOFF_FIRST_MS = 200;
const BACKOFF_MAX_MS = 10_000;
/** A child that ran this long has recovered: its next exit counts as the first one. */
const STEADY_AFTER_MS = 30_000;
const LAST_OUTPUT_MS = 500;

export class SupervisedProcess {
  readonly plan: ProcessPlan;
  readonly #supervision: Supervision;
  #state: 'idle' | 'running' | 'waiting' | 'stopped' = 'idle';
  #child: ChildProcess | undefined;
  #spawnedAt = 0;
  #consecutiveExits = 0;
  #hasStarted = false;
  #restartTimer: NodeJS.Timeout | undefined;

  constructor(plan: ProcessPlan, supervision: Supervision = {}) {
    this.plan = plan;
    this.#supervision = supervision;
  }

  /** The latest pid, also during a restart; 0 before the first start. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get consecutiveExits(): number {
    return this.#consecutiveExits;
  }

  /** Whether the current child has sent that it has started. Redis and PostgreSQL never do. */
  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  get log(): ProcessLog | undefined {
    return this.#supervision.log;
  }

  start(): void {
    if (this.#state === 'stopped') return;
    const { log, records, onSpawn } = this.#supervision;
    const { name, kind, command, args, env, user, stopSignal } = this.plan;
    const output = log ? 'pipe' : 'inherit';
    this.#state = 'running';
    this.#hasStarted = false;
    this.#spawnedAt = Date.now();
    const child = spawn(command, args, {
      // The child's user may have no access to the current directory.
      cwd: kind === 'server' ? '/' : process.cwd(),
      env,
      ...user,
      // In a session of its own, the child gets no Ctrl-C: the supervisor stops all children in order.
      detached: true,
      // The channel closes when the supervisor ends, even by SIGKILL. Node children stop then.
      stdio: kind === 'node' ? ['ignore', output, output, 'ipc'] : ['ignore', output, output],
    });
    this.#child = child;
    child.once('error', (error) => this.#ended(child, `did not start: ${error.message}`));
    child.once('exit', (code, signal) => {
      this.#ended(child, signal ? `was ended by ${signal}` : `ended with code ${code}`);
    });
    child.on('message', (message) => {
      if (child !== this.#child) return;
      if (message === STARTED_MESSAGE) this.#hasStarted = true;
      else this.#supervision.onMessage?.(this, message);
    });
    if (child.pid === undefined) return;
    if (child.stdout) log?.capture(child.stdout, child.pid);
    if (child.stderr) log?.capture(child.stderr, child.pid);
    records?.add(name, { kind, pid: child.pid, stopSignal });
    onSpawn?.();
  }

  /** Sends a message over the channel; it is lost when the child has ended. */
  send(message: object): void {
    if (this.#child?.connected) this.#child.send(message, () => undefined);
  }

  /** Resolves when the child has ended and will not restart. A second call waits for the same end. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (child?.pid !== undefined && !hasEnded(child)) {
      const ended = once(child, 'exit');
      const outputEnded = once(child, 'close');
      const deadline = setTimeout(() => child.kill('SIGKILL'), this.plan.stopDeadlineMs);
      child.kill(this.plan.stopSignal);
      // A suspended child would not receive the signal before the deadline.
      child.kill('SIGCONT');
      await ended;
      clearTimeout(deadline);
      // Waits for the last output, but only briefly: a grandchild can keep the pipe open.
      await Promise.race([outputEnded, sleep(LAST_OUTPUT_MS)]);
    }
    this.#supervision.records?.remove(this.plan.name);
    await this.#supervision.log?.close();
  }

  /** Sends the stop signal without waiting. A process that is itself ending can do no more. */
  signalStop(): void {
    this.#state = 'stopped';
    if (this.#child?.pid !== undefined && !hasEnded(this.#child)) {
      this.#child.kill(this.plan.stopSignal);
    }
  }

  #ended(child: ChildProcess, how: string): void {
    if (this.#state !== 'running' || child !== this.#child) return;
    this.#state = 'waiting';
    this.#hasStarted = false;
    this.#consecutiveExits =
      Date.now() - this.#spawnedAt > STEADY_AFTER_MS ? 1 : this.#consecutiveExits + 1;
    const delayMs = Math.round(
      backoffMs(this.#consecutiveExits - 1, BACKOFF_FIRST_MS, BACKOFF_MAX_MS),
    );
    const sentence = `${this.plan.name} (process ${child.pid ?? 'none'}) ${how}; restarting it in ${delayMs} ms`;
    this.#supervision.log?.write(sentence);
    this.#supervision.onUnexpectedExit?.(sentence);
    this.#restartTimer = setTimeout(() => this.start(), delayMs);
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
