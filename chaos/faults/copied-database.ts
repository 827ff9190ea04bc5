/** A persister on a copy of the database, as staging runs it with the wrong `REDIS_URL`. It must consume nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { sharedCode } from '../../harness/engine/shared-code.ts';
import { copyDatabase } from '../../harness/servers/postgres.ts';
import { recordProcess } from '../../harness/servers/process-records.ts';
import type { ChaosStack } from '../stack.ts';

export interface CopyResult {
  /** Whether the copy was made and its persister ran. */
  hasRun: boolean;
  /** What the persister took over. Undefined: nothing. */
  consumed: string | undefined;
}

export async function runPersisterOnCopy(stack: ChaosStack, forMs: number): Promise<CopyResult> {
  // PostgreSQL may be down or frozen.
  const copy = await copyDatabase(stack.databaseUrl).catch(() => undefined);
  if (!copy) return { hasRun: false, consumed: undefined };
  const sql = postgres(copy.url, { max: 1, onnotice: () => undefined });
  try {
    const before = await progressOf(sql);
    await runPersister(stack, copy.url, forMs);
    const after = await progressOf(sql);
    const consumed =
      before === after ? undefined : `a copy of the database had ${before}, then ${after}`;
    return { hasRun: true, consumed };
  } finally {
    await sql.end({ timeout: 1 });
    await copy.drop();
  }
}

async function runPersister(stack: ChaosStack, databaseUrl: string, forMs: number): Promise<void> {
  const child = spawn(process.execPath, [stack.mainModule, 'persister'], {
    env: {
      PATH: process.env.PATH,
      ...sharedCode(),
      LOG_LEVEL: 'silent',
      DURABILITY: stack.durability,
      REDIS_URL: stack.redis.url,
      DATABASE_URL: databaseUrl,
      PERSISTER_PORT: '0',
    },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  recordProcess(child);
  const exited = once(child, 'exit');
  await Promise.race([exited, sleep(forMs, undefined, { ref: false })]);
  child.kill('SIGKILL');
  await exited;
}

async function progressOf(sql: postgres.Sql): Promise<string> {
  const [row] = await sql<{ progress: string }[]>`
    SELECT format('%s events, %s reservations, timeline %s',
      (SELECT coalesce(max(event), 0) FROM checkpoints), (SELECT count(*) FROM reservations),
      (SELECT max(timeline) FROM sales)) AS progress`;
  return row!.progress;
}
