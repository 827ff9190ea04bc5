/** Describes the machine and the software of a measurement. Every result file contains both. */
import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import postgres from 'postgres';

const REPOSITORY = join(import.meta.dirname, '../..');

/** `note` describes the other load on the machine. */
export function machine(note: string) {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    // The text after the numbers names a build, which is irrelevant for speed.
    kernel: `${process.platform} ${/^[\d.]+\d/.exec(release())?.[0] ?? release()}`,
    note,
  };
}

export function codeVersions() {
  const changed =
    output('git', ['status', '--porcelain', '--untracked-files=no', '--', '.', ':!*/results']) !==
    '';
  return {
    date: new Date().toISOString(),
    commit: `${output('git', ['rev-parse', '--short', 'HEAD']) ?? 'unknown'}${changed ? ' with changes' : ''}`,
    node: process.version,
  };
}

export async function serverVersions(urls: { redisUrl: string; postgresUrl: string }) {
  const redis = new Redis(urls.redisUrl, { maxRetriesPerRequest: 1 });
  const sql = postgres(urls.postgresUrl, { max: 1 });
  try {
    const [server] = await sql<
      { version: string }[]
    >`select current_setting('server_version') as version`;
    const info = await redis.info('server');
    // Valkey also says which Redis it is compatible with.
    const valkey = /valkey_version:(\S+)/.exec(info)?.[1];
    return {
      redis: valkey ? `Valkey ${valkey}` : (/redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown'),
      postgres: server?.version ?? 'unknown',
    };
  } finally {
    redis.disconnect();
    await sql.end();
  }
}

/** The output of a command; undefined if the command is missing or fails. */
export function output(command: string, args: string[]): string | undefined {
  try {
    return execFileSync(command, args, {
      cwd: REPOSITORY,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}
