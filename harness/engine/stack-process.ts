/** A private stack as a user runs it: `flash-sale stack` as a child process, in a home directory of the test's own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';
import { processIdentity } from '../../src/process/supervisor/process-identity.mjs';
import { eventually } from '../eventually.ts';
import { recordProcess } from '../servers/process-records.ts';
import { type Scope, use } from '../use.ts';
import { sharedCode } from './shared-code.ts';

export const MAIN_MODULE = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const READY_DEADLINE_MS = 60_000;
const END_DEADLINE_MS = 60_000;
const DEADLINE_MS = 20_000;

export function useStackHome(scope: Scope): Promise<StackHome> {
  return use(scope, () => new StackHome());
}

/** A home directory whose stacks are stopped before it is removed. */
export class StackHome {
  readonly directory: string;
  readonly #stacks: StackProcess[] = [];

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'flash-sale-stack-'));
    // Where tests run as root, PostgreSQL's user must be able to enter; else its data would be stored elsewhere.
    chmodSync(this.directory, 0o755);
  }

  async close(): Promise<void> {
    await Promise.all(this.#stacks.map((stack) => stack.stop()));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** `command` replaces `flash-sale stack`. */
  start(options: { env?: Record<string, string>; command?: string[] } = {}): StackProcess {
    const stack = new StackProcess(this.directory, options);
    this.#stacks.push(stack);
    return stack;
  }
}

/** An environment without the variables of the test runner and the developer's shell. */
function stackEnvironment(home: string, overrides: Record<string, string> = {}): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    ...sharedCode(),
    FLASH_SALE_HOME: home,
    HOT_PATH_PORT: '0',
    ADMIN_PORT: '0',
    ...overrides,
  };
}

export class StackProcess {
  readonly child: ChildProcess;
  readonly home: string;
  stdout = '';
  stderr = '';
  readonly #ended: Promise<number | null>;

  constructor(home: string, options: { env?: Record<string, string>; command?: string[] }) {
    this.home = home;
    const args = options.command ?? [MAIN_MODULE, 'stack'];
    this.child = spawn(process.execPath, args, {
      env: stackEnvironment(home, options.env),
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its own process group, as a shell starts a foreground job.
      detached: true,
    });
    recordProcess(this.child);
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.#ended = once(this.child, 'exit').then(([code]) => code as number | null);
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** The description that it prints when every process is ready. */
  async ready(): Promise<StackDescription> {
    await until('the stack is ready', () => this.stdout.includes('\n') || this.#isOver(), {
      deadlineMs: READY_DEADLINE_MS,
      account: () => this.stderr,
    });
    if (!this.stdout.includes('\n')) throw new Error(`the stack did not start:\n${this.stderr}`);
    return JSON.parse(this.stdout);
  }

  async stop(): Promise<void> {
    if (!this.#isOver()) this.child.kill('SIGTERM');
    await this.ended();
  }

  /** Its exit code, null after a signal. It is killed if it does not end in time. */
  async ended(): Promise<number | null> {
    const late = setTimeout(() => this.child.kill('SIGKILL'), END_DEADLINE_MS);
    const code = await this.#ended;
    clearTimeout(late);
    return code;
  }

  /** stack.json as it is now. */
  describe(): StackDescription {
    return JSON.parse(readFileSync(join(this.home, 'stack.json'), 'utf8'));
  }

  #isOver(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }
}

export function allPids({ pids }: StackDescription): number[] {
  return [pids.redis, pids.postgres, ...pids.hotPath, ...pids.persister, pids.admin];
}

export function isAlive(pid: number): boolean {
  return processIdentity(pid) !== undefined;
}

/** Polls until the condition holds; fails with its description. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  options: { deadlineMs?: number; account?: () => string } = {},
): Promise<void> {
  await eventually(
    async () => {
      assert.ok(await holds(), `timed out waiting until ${what}\n${options.account?.() ?? ''}`);
    },
    { timeoutMs: options.deadlineMs ?? DEADLINE_MS },
  );
}
