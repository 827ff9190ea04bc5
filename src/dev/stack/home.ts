/**
 * Where a private stack keeps everything it has: `.flash-sale/` in the checkout, or FLASH_SALE_HOME. One stack at a
 * time lives in a home; a lock that names its process says so, and the lock of a dead one is taken over.
 */
import { existsSync, mkdirSync, readlinkSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Fault } from '../../domain/fault.ts';
import { tryLock } from '../bootstrap/exclusive-lock.mjs';

const CHECKOUT = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));

export interface Home {
  directory: string;
  /** One file a process, of this run and of the one before. */
  logs: string;
  /** Who was started, so that a later run can end what a killed supervisor left behind. */
  children: string;
  redis: string;
  /** A directory, or a link to one where PostgreSQL's own user can get at it. */
  postgres: string;
  secretsFile: string;
  stackFile: string;
}

export function locateHome(env: NodeJS.ProcessEnv): Home {
  const directory = resolve(env.FLASH_SALE_HOME || join(CHECKOUT, '.flash-sale'));
  return {
    directory,
    logs: join(directory, 'logs'),
    children: join(directory, 'children'),
    redis: join(directory, 'redis'),
    postgres: join(directory, 'postgres'),
    secretsFile: join(directory, 'secrets.json'),
    stackFile: join(directory, 'stack.json'),
  };
}

/**
 * Makes the home ours until the returned function is called, or this process ends, however it ends.
 *
 * @throws Fault config_invalid when a living stack is in it, or when it cannot be written.
 */
export function acquireHome(home: Home): () => void {
  const attempt = lockHome(home);
  if (attempt.holderPid !== undefined) {
    throw new Fault(
      'config_invalid',
      `A stack is running in ${home.directory} already (process ${attempt.holderPid}). Stop it first:\n  kill ${attempt.holderPid}\nor give this one a home of its own:\n  FLASH_SALE_HOME=/some/other/directory`,
    );
  }
  for (const directory of [home.logs, home.children, home.redis]) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }
  return attempt.release;
}

function lockHome(home: Home): ReturnType<typeof tryLock> {
  try {
    return tryLock(join(home.directory, 'lock'));
  } catch (error) {
    throw new Fault(
      'config_invalid',
      `${home.directory} cannot be used as this user: ${(error as Error).message}. Put it elsewhere with FLASH_SALE_HOME.`,
      { cause: error },
    );
  }
}

/** Empties a home of all that a stack put there. The home must be occupied, and nothing may run in it. */
export function emptyHome(home: Home): void {
  rmSync(postgresDirectoryBehindLink(home) ?? home.postgres, { recursive: true, force: true });
  for (const path of [home.postgres, home.secretsFile, home.stackFile]) {
    rmSync(path, { recursive: true, force: true });
  }
  for (const directory of [home.logs, home.children, home.redis]) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { mode: 0o700 });
  }
}

function postgresDirectoryBehindLink(home: Home): string | undefined {
  if (!existsSync(home.postgres)) return undefined;
  try {
    return readlinkSync(home.postgres);
  } catch {
    return undefined;
  }
}
