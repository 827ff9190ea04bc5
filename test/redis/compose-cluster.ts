/** What docker-compose.yml becomes with deploy/compose/cluster.yml, as far as tests compare or run it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const REPOSITORY = join(import.meta.dirname, '../..');

export interface Service {
  image?: string;
  command?: string[];
  restart?: string;
  environment?: Record<string, unknown>;
  volumes?: string[];
  networks?: { default: { ipv4_address: string } };
  healthcheck?: { test?: string[]; disable?: boolean };
  depends_on?: Record<string, { condition: string }>;
}

export interface ComposeFile {
  services: Record<string, Service>;
  networks?: { default: { ipam: { config: { subnet: string }[] } } };
  volumes: Record<string, unknown>;
}

export function readCompose(path: string): ComposeFile {
  return parse(readFileSync(join(REPOSITORY, path), 'utf8'), { merge: true });
}

/** The two files as Compose merges them: maps by key, and everything else from the second file. */
export function mergedCompose(): ComposeFile {
  return merge(readCompose('docker-compose.yml'), readCompose('deploy/compose/cluster.yml'));
}

/** The services that are nodes of the cluster, the first one first. */
export function nodesOf({ services }: ComposeFile): [string, Service][] {
  return Object.entries(services)
    .filter(([name]) => /^redis(-\d+)?$/.test(name))
    .toSorted(([one], [other]) => one.localeCompare(other));
}

/** Replaces `${NAME:-default}` by its default and `$$` by `$`, as Compose does where no variable is set. */
export function interpolated(text: string): string {
  return text.replaceAll(/\$\$|\$\{\w+:-([^}]*)\}/g, (found, fallback: string) =>
    found === '$$' ? '$' : fallback,
  );
}

function merge<T>(first: T, second: T): T {
  if (!isMap(first) || !isMap(second)) return second ?? first;
  const keys = new Set([...Object.keys(first), ...Object.keys(second)]);
  return Object.fromEntries([...keys].map((key) => [key, merge(first[key], second[key])])) as T;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
