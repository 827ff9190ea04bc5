/** A process of the engine as in production, `node src/main.ts …`. It is killed with its scope if it still runs. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { findFreePorts } from '../../src/process/free-port.ts';
import { eventually } from '../eventually.ts';
import { recordProcess } from '../servers/process-records.ts';
import { type Scope, use } from '../use.ts';
import { sharedCode } from './shared-code.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const READY_MS_MAX = 60_000;

const PORT_OF = {
  'hot-path': 'HOT_PATH_PORT',
  persister: 'PERSISTER_PORT',
  admin: 'ADMIN_PORT',
} as const;

export interface Stopped {
  /** Null: a signal ended the process. */
  code: number | null;
  tookMs: number;
}

/** `environment` is its whole environment except for the path, the shared code and the log level. Without a port in it, a free one is used. */
export async function useEngineProcess(
  scope: Scope,
  name: keyof typeof PORT_OF,
  environment: Record<string, string>,
  mainModule = MAIN,
): Promise<EngineProcess> {
  const port = Number(environment[PORT_OF[name]] ?? (await findFreePorts(1))[0]);
  return use(
    scope,
    () => new EngineProcess(name, port, environment, mainModule),
    (engine) => engine.kill(),
  );
}

export class EngineProcess {
  readonly port: number;
  readonly url: string;
  readonly child: ChildProcess;
  /** Its standard output and standard error; both are passed on as well. */
  output = '';
  readonly #exited: Promise<number | null>;

  constructor(
    name: keyof typeof PORT_OF,
    port: number,
    environment: Record<string, string>,
    mainModule = MAIN,
  ) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.child = spawn(process.execPath, [mainModule, name], {
      env: {
        PATH: process.env.PATH,
        ...sharedCode(),
        LOG_LEVEL: process.env.LOG_LEVEL ?? 'silent',
        [PORT_OF[name]]: String(port),
        ...environment,
      },
      // If the test's process ends without stopping this one, the channel closes and this one stops by itself.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    recordProcess(this.child);
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
        process.stderr.write(text);
      });
    }
    this.#exited = once(this.child, 'exit').then(([code]) => code as number | null);
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** What `/readyz` reports as missing. Fails while the process does not respond. */
  async missing(): Promise<string[]> {
    const response = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(2_000) });
    return ((await response.json()) as { missing: string[] }).missing;
  }

  async untilReady(): Promise<this> {
    await eventually(async () => assert.deepEqual(await this.missing(), []), {
      timeoutMs: READY_MS_MAX,
    });
    return this;
  }

  /** By SIGTERM, without a time limit. */
  async stop(): Promise<Stopped> {
    const startedAt = performance.now();
    this.child.kill('SIGTERM');
    const code = await this.#exited;
    return { code, tookMs: performance.now() - startedAt };
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.#exited;
  }
}
