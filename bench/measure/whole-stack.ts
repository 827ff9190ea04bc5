/**
 * The stack of `npm start`, for scenarios about all of it. In production its parts run on separate machines, so a
 * shortage of cores must not slow the buyers. Hot path and Redis have the first core. All other processes and wrk have
 * the rest, also after a restart.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connections, connect } from '../../harness/servers/connections.ts';
import { locateHome } from '../../src/dev/stack/home.ts';
import { startStack } from '../../src/dev/stack/stack.ts';
import {
  readStackDescription,
  type StackDescription,
} from '../../src/dev/stack/stack-description.ts';
import { JWT_SECRET } from '../load/buyers.ts';

export interface WholeStack {
  readonly directory: string;
  /** The current state: a restarted process has another pid. */
  description(): StackDescription;
  readonly hotPathPort: number;
  readonly servers: Connections;
  close(): Promise<void>;
}

export async function openWholeStack(stopping: AbortSignal): Promise<WholeStack> {
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-bench-'));
  // PostgreSQL's own user must be able to enter.
  chmodSync(directory, 0o711);
  process.once('exit', remove);
  const cores = cpus().length;
  // Children inherit the cores of their parent.
  if (cores > 1) pinToCores(process.pid, cores === 2 ? '1' : `1-${cores - 1}`);
  try {
    const env = {
      PATH: process.env.PATH,
      FLASH_SALE_HOME: directory,
      HOT_PATH_PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'warn',
      JWT_SECRET,
    };
    const options = { fresh: true, env, command: 'npm run bench', report: () => undefined };
    const stack = await startStack(options, stopping);
    const { hotPathUrl, redisUrl, postgresUrl, pids } = stack.description;
    if (cores > 1) for (const pid of [...pids.hotPath, pids.redis]) pinToCores(pid, '0');
    const servers = await connect(redisUrl, postgresUrl);
    return {
      directory,
      description: () => readStackDescription(locateHome(env)) ?? stack.description,
      hotPathPort: Number(new URL(hotPathUrl).port),
      servers,
      close: async () => {
        await servers.close();
        await stack.close();
        restore();
      },
    };
  } catch (error) {
    restore();
    throw error;
  }

  function restore(): void {
    if (cores > 1) pinToCores(process.pid, `0-${cores - 1}`);
    process.off('exit', remove);
    remove();
  }

  function remove(): void {
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** With all threads of the process. */
function pinToCores(pid: number, cores: string): void {
  execFileSync('taskset', ['-apc', cores, String(pid)], { stdio: 'ignore' });
}
