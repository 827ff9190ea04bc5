/**
 * The stack of `npm start`, for scenarios about all of it. Who buys must not be slowed by others merely for want of a
 * core, as these are machines of their own in earnest: hot path and Redis have the first core, all others and wrk the
 * rest, also those that are started again.
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
  /** As it is now: a process that was started again has another pid. */
  description(): StackDescription;
  readonly hotPathPort: number;
  readonly servers: Connections;
  close(): Promise<void>;
}

export async function openWholeStack(stopping: AbortSignal): Promise<WholeStack> {
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-bench-'));
  // PostgreSQL's own user has to get in.
  chmodSync(directory, 0o711);
  process.once('exit', remove);
  const cores = cpus().length;
  // Children begin where their parent is.
  if (cores > 1) place(process.pid, cores === 2 ? '1' : `1-${cores - 1}`);
  try {
    const env = {
      PATH: process.env.PATH,
      FLASH_SALE_HOME: directory,
      HOT_PATH_PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'warn',
      JWT_SECRET,
    };
    const options = { fresh: true, env, command: 'npm run bench', tell: () => undefined };
    const stack = await startStack(options, stopping);
    const { hotPathUrl, redisUrl, postgresUrl, pids } = stack.description;
    if (cores > 1) for (const pid of [...pids.hotPath, pids.redis]) place(pid, '0');
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
    if (cores > 1) place(process.pid, `0-${cores - 1}`);
    process.off('exit', remove);
    remove();
  }

  function remove(): void {
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** With all its threads. */
function place(pid: number, cores: string): void {
  execFileSync('taskset', ['-apc', cores, String(pid)], { stdio: 'ignore' });
}
