/**
 * Records on disk which children run. A killed supervisor cannot stop its children; the next supervisor in the same home
 * finds them here. A record holds the pid and the start time, so that a reused pid is never signalled.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processIdentity } from './process-identity.mjs';

/** Node processes stop by themselves when their supervisor is gone, and may need the servers until then. */
export type ChildKind = 'node' | 'server';

interface ChildRecord {
  kind: ChildKind;
  pid: number;
  identity: string;
  stopSignal: NodeJS.Signals;
}

const LEFTOVER_DEADLINE_MS = 15_000;

export class ChildRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  add(name: string, child: Omit<ChildRecord, 'identity'>): void {
    const identity = processIdentity(child.pid);
    // It has ended already.
    if (identity === undefined) return;
    writeFileSync(this.#fileOf(name), JSON.stringify({ ...child, identity }));
  }

  remove(name: string): void {
    rmSync(this.#fileOf(name), { force: true });
  }

  /** Stops every recorded child that still runs, Node processes first, and returns their names. */
  async stopLeftovers(): Promise<string[]> {
    const leftovers = readdirSync(this.#directory)
      .filter((file) => file.endsWith('.json'))
      .map((file) => ({ name: file.slice(0, -'.json'.length), ...this.#read(file) }));
    const alive = leftovers.filter(isAlive);
    for (const kind of ['node', 'server'] as const) {
      await Promise.all(alive.filter((child) => child.kind === kind).map(stop));
    }
    for (const { name } of leftovers) this.remove(name);
    return alive.map(({ name }) => name);
  }

  #read(file: string): ChildRecord {
    return JSON.parse(readFileSync(join(this.#directory, file), 'utf8'));
  }

  #fileOf(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}

async function stop(child: ChildRecord): Promise<void> {
  const deadline = Date.now() + LEFTOVER_DEADLINE_MS;
  signal(child, child.stopSignal);
  while (isAlive(child)) {
    if (Date.now() > deadline) signal(child, 'SIGKILL');
    await sleep(50);
  }
}

function isAlive(child: ChildRecord): boolean {
  return processIdentity(child.pid) === child.identity;
}

function signal(child: ChildRecord, name: NodeJS.Signals): void {
  if (!isAlive(child)) return;
  try {
    process.kill(child.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
