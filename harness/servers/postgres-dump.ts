/** A dump of a database by `pg_dump`, and its restore by `pg_restore`, with the options that docs/OPERATIONS.md gives. */
import { execFile } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { findPostgres } from '../../src/dev/bootstrap/find-servers.mjs';
import { type Scope, use } from '../use.ts';

const execute = promisify(execFile);

export interface Dump {
  /** Into the database that it was made of, which has lost or damaged rows since. */
  restoreInPlace(url: string): Promise<void>;
  /** Into an empty database, on this server or another one. */
  restoreElsewhere(url: string): Promise<void>;
}

/** Dumps the database as it is now. */
export async function useDump(scope: Scope, url: string): Promise<Dump> {
  const directory = await use(
    scope,
    () => mkdtempSync(join(tmpdir(), 'flash-sale-test-dump-')),
    (made) => rmSync(made, { recursive: true, force: true }),
  );
  const file = join(directory, 'flash-sale.dump');
  await run('pg_dump', ['--format=custom', `--file=${file}`, `--dbname=${url}`]);
  const restore = (into: string, ...options: string[]) =>
    run('pg_restore', ['--single-transaction', '--no-owner', ...options, `--dbname=${into}`, file]);
  return {
    restoreInPlace: (into) => restore(into, '--clean', '--if-exists'),
    restoreElsewhere: (into) => restore(into),
  };
}

/** The programs beside the server that runs, wherever its link leads: an older `pg_dump` refuses a newer server. */
async function run(program: 'pg_dump' | 'pg_restore', args: readonly string[]): Promise<void> {
  const installation = findPostgres();
  if (!installation) throw new Error('PostgreSQL is not installed; npm test installs it');
  const bin = dirname(realpathSync(join(installation.bin, 'postgres')));
  await execute(join(bin, program), args, {
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
  });
}
