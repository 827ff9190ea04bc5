/** Metrics of a running process, read from `/metrics`. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../eventually.ts';

/** The sum of a metric's samples, or of those with these labels, e.g. `outcome="sold_out"`. */
export async function metric(
  { port }: { port: number },
  name: string,
  ...labels: string[]
): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const samples = [...text.matchAll(new RegExp(`^${name}[ {].*?(\\S+)$`, 'gm'))];
  return samples
    .filter(([sample]) => labels.every((label) => sample.includes(label)))
    .reduce((sum, [, value]) => sum + Number(value), 0);
}

/** Waits until a count has increased by `by`. A test then shows that this work has changed nothing. */
export async function untilIncreased(read: () => Promise<number>, by = 1): Promise<void> {
  const before = await read();
  await eventually(async () => assert.ok((await read()) >= before + by, `not ${by} more`));
}

/** Reads metrics at an interval until `end`, which returns the highest value of each. */
export class Peaks {
  readonly #highest = new Map<string, number>();
  #isOver = false;
  readonly #polling: Promise<void>;

  constructor(process: { port: number }, names: readonly string[], intervalMs = 200) {
    this.#polling = this.#poll(process, names, intervalMs);
  }

  async end(): Promise<(name: string) => number> {
    this.#isOver = true;
    await this.#polling;
    return (name) => this.#highest.get(name) ?? 0;
  }

  async #poll(process: { port: number }, names: readonly string[], intervalMs: number) {
    while (!this.#isOver) {
      for (const name of names) {
        const highest = this.#highest.get(name) ?? 0;
        this.#highest.set(name, Math.max(highest, await metric(process, name)));
      }
      await sleep(intervalMs);
    }
  }
}
