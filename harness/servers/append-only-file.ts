/** What a test's Redis has on its disk, for tests that take some of it away as a power cut would. */
import { readdirSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import type { TestRedis } from './servers.ts';

/** The file that it appends to now. */
export function appendedFile(redis: TestRedis): string {
  const directory = join(redis.directory, 'appendonlydir');
  const manifest = readdirSync(directory).find((name) => name.endsWith('.manifest'))!;
  const files = readFileSync(join(directory, manifest), 'utf8').matchAll(/^file (\S+) .*type i/gm);
  return join(directory, [...files].at(-1)![1]!);
}

export function appendedBytes(redis: TestRedis): number {
  return statSync(appendedFile(redis)).size;
}

/** Leaves only the first bytes of it. While the server is not running. */
export function cutTo(redis: TestRedis, bytes: number): void {
  truncateSync(appendedFile(redis), bytes);
}
