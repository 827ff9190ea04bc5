/**
 * The directory of a private stack: `.flash-sale/` in the checkout, or FLASH_SALE_HOME. A lock file allows one stack at a
 * time in it.
 */
import { existsSync, mkdirSync, readlinkSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Fault } from '../../domain/fault.ts';
import { tryLock } from '../bootstrap/exclusive-lock.mjs';

const CHECKOUT = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));

export interface Home {
  directory: string;
  /** One file per process, of this run and of the previous one. */
  logs: string;
  /** Records of child processes, so that a later run can stop those of a killed supervisor. */
  children: string;
  redis: string;
  /** A directory, or a link to one that PostgreSQL's system user can access. */
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
 * Locks the home until the returned function is called or this process ends.
 *
 * @throws Fault config_invalid when a running stack has it, or when it cannot be written
 */
export function acquireHome(home: Home): () => void {
  const attempt = lockHome(home);
  if (attempt.holderPid !== undefined) {
    throw new Fault(
      'config_invalid',
      `A stack is already running in ${home.directory} (process ${attempt.holderPid}). Stop it first:\n  kill ${attempt.holderPid}\nor use another directory:\n  FLASH_SALE_HOME=/some/other/directory`,
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
      `${home.directory} cannot be used by this user: ${(error as Error).message}. Choose another directory with FLASH_SALE_HOME.`,
      { cause: error },
    );
  }
}

/** Deletes everything that a stack created in a home. The home must be locked, and no process may run in it. */
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
