/**
 * A private stack as people run it, `flash-sale stack` in a process of its own, in a home that goes with the test.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { StackDescription } from '../../src/dev/stack/stack-description.ts';
import { processIdentity } from '../../src/process/process-identity.mjs';
import { eventually } from '../eventually.ts';

export const MAIN_MODULE = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const READY_DEADLINE_MS = 60_000;
const END_DEADLINE_MS = 60_000;
const DEADLINE_MS = 20_000;

/** A home and the stacks in it: with the test, they are stopped and then it is removed. */
export class StackHome {
  readonly directory: string;
  readonly #stacks: StackProcess[] = [];

  constructor(t: TestContext) {
    this.directory = mkdtempSync(join(tmpdir(), 'flash-sale-stack-'));
    // PostgreSQL's own user has to get in where tests run as root; else its data would go elsewhere, and stay.
    chmodSync(this.directory, 0o755);
    t.after(async () => {
      await Promise.all(this.#stacks.map((stack) => stack.stop()));
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  /** `command` is what to run instead of `flash-sale stack`. */
  start(options: { env?: Record<string, string>; command?: string[] } = {}): StackProcess {
    const stack = new StackProcess(this.directory, options);
    this.#stacks.push(stack);
    return stack;
  }
}

/** The test's environment, without what the test runner or a developer's shell would tell the stack. */
export function stackEnvironment(
  home: string,
  overrides: Record<string, string> = {},
): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
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
      // A process group of its own, as a shell gives to what it runs in the foreground.
      detached: true,
    });
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

  /** What it printed when all was ready. */
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

  /** Its exit code; null when a signal ended it. Killed, and an error, when it does not end. */
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

/** Waits, boundedly, and fails with what it waited for. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  options: { deadlineMs?: number; account?: () => string } = {},
): Promise<void> {
  await eventually(
    async () => {
      assert.ok(await holds(), `waited in vain until ${what}\n${options.account?.() ?? ''}`);
    },
    { timeoutMs: options.deadlineMs ?? DEADLINE_MS },
  );
}
