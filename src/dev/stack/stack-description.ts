/** `stack.json`: the addresses, tokens and pids of a running private stack. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Home } from './home.ts';

export interface StackDescription {
  hotPathUrl: string;
  adminUrl: string;
  redisUrl: string;
  postgresUrl: string;
  adminToken: string;
  merchantToken: string;
  jwtSecret: string;
  pids: {
    redis: number;
    postgres: number;
    hotPath: number[];
    persister: number[];
    admin: number;
  };
}

/** Renamed into place, so that a reader never sees a partial file. Only its owner can read it: it has secrets. */
export function writeStackDescription(home: Home, description: StackDescription): void {
  const draft = `${home.stackFile}.draft`;
  writeFileSync(draft, `${JSON.stringify(description)}\n`, { mode: 0o600 });
  renameSync(draft, home.stackFile);
}

/** Undefined when no stack is running in that home. */
export function readStackDescription(home: Home): StackDescription | undefined {
  try {
    return JSON.parse(readFileSync(home.stackFile, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export function removeStackDescription(home: Home): void {
  rmSync(home.stackFile, { force: true });
}
