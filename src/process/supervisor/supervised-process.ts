/**
 * One child process that is kept up: started again with backoff when it dies, stopped by a signal and a deadline.
 *
 * States: idle → running ⇄ waiting (died; comes back after the backoff) → stopped. Only `stop` leads to stopped, and
 * nothing leads out of it.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { backoffMs } from '../backoff.ts';
import { STARTED_MESSAGE } from '../lifecycle.ts';
import type { ChildKind, ChildRecords } from './child-records.ts';
import type { ProcessLog } from './process-log.ts';

/** The module of the command line, `flash-sale …`, which a supervisor starts processes of the engine with. */
export const MAIN_MODULE = fileURLToPath(new URL('../../main.ts', import.meta.url));

export interface ProcessPlan {
  name: string;
  kind: ChildKind;
  command: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** Whom to run as; ourselves when missing. */
  user?: { uid: number; gid: number };
  stopSignal: NodeJS.Signals;
  /** After so long a stop turns into SIGKILL. */
  stopDeadlineMs: number;
}

export interface Supervision {
  /** Where output goes; without it, to our own. */
  log?: ProcessLog;
  records?: ChildRecords;
  /** Each time that the child gets a new pid. */
  onSpawn?: () => void;
  /** Each time that the child dies without having been asked to; in words for people. */
  onUnexpectedExit?: (sentence: string) => void;
  /** What the child says over its channel, but for that it has started. */
  onMessage?: (child: SupervisedProcess, message: unknown) => void;
}

const BACKOFF_FIRST_MS = 200;
const BACKOFF_MAX_MS = 10_000;
/** A child that lived so long has recovered: its next death is a first one again. */
const STEADY_AFTER_MS = 30_000;
const LAST_WORDS_MS = 500;

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

  /** The last one, also while the child is being restarted; 0 before the first. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get consecutiveExits(): number {
    return this.#consecutiveExits;
  }

  /** Whether the present child has said over its channel that it is up. Servers, which are not ours, never do. */
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
      // The home may be closed to the child's user; servers want a directory that they can be in.
      cwd: kind === 'server' ? '/' : process.cwd(),
      env,
      ...user,
      // A session of its own: Ctrl-C in a terminal is for the supervisor, which stops all in order.
      detached: true,
      // The channel closes when the supervisor dies, even by SIGKILL; Node children stop then.
      stdio: kind === 'node' ? ['ignore', output, output, 'ipc'] : ['ignore', output, output],
    });
    this.#child = child;
    child.once('error', (error) => this.#died(child, `did not start: ${error.message}`));
    child.once('exit', (code, signal) => {
      this.#died(child, signal ? `was ended by ${signal}` : `ended with code ${code}`);
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

  /** Over its channel; lost on a child that is gone. */
  send(message: object): void {
    if (this.#child?.connected) this.#child.send(message, () => undefined);
  }

  /** Resolves when the child is gone for good. Calling it again waits for the same end. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (child?.pid !== undefined && !hasEnded(child)) {
      const ended = once(child, 'exit');
      const outputEnded = once(child, 'close');
      const deadline = setTimeout(() => child.kill('SIGKILL'), this.plan.stopDeadlineMs);
      child.kill(this.plan.stopSignal);
      // A child that somebody has suspended would not see the signal before the deadline.
      child.kill('SIGCONT');
      await ended;
      clearTimeout(deadline);
      // Its last words; but not for long, since a grandchild may keep the pipe open.
      await Promise.race([outputEnded, sleep(LAST_WORDS_MS)]);
    }
    this.#supervision.records?.remove(this.plan.name);
    await this.#supervision.log?.close();
  }

  /** Asks it to stop, without waiting and without SIGKILL: all that a process that is itself ending can do. */
  signalStop(): void {
    this.#state = 'stopped';
    if (this.#child?.pid !== undefined && !hasEnded(this.#child)) {
      this.#child.kill(this.plan.stopSignal);
    }
  }

  #died(child: ChildProcess, how: string): void {
    if (this.#state !== 'running' || child !== this.#child) return;
    this.#state = 'waiting';
    this.#hasStarted = false;
    this.#consecutiveExits =
      Date.now() - this.#spawnedAt > STEADY_AFTER_MS ? 1 : this.#consecutiveExits + 1;
    const delayMs = Math.round(
      backoffMs(this.#consecutiveExits - 1, BACKOFF_FIRST_MS, BACKOFF_MAX_MS),
    );
    const sentence = `${this.plan.name} (process ${child.pid ?? 'none'}) ${how}; starting it again in ${delayMs} ms`;
    this.#supervision.log?.write(sentence);
    this.#supervision.onUnexpectedExit?.(sentence);
    this.#restartTimer = setTimeout(() => this.start(), delayMs);
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
