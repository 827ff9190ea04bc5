/** What a process says about itself at `/metrics`. */
import { setTimeout as sleep } from 'node:timers/promises';

/** A metric of any name, summed over its samples, or those with these labels, e.g. `outcome="sold_out"`. */
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

/** The highest value of each metric, looked at until it is ended. */
export class Peaks {
  readonly #most = new Map<string, number>();
  #isOver = false;
  readonly #looking: Promise<void>;

  constructor(process: { port: number }, names: readonly string[], intervalMs = 200) {
    this.#looking = this.#look(process, names, intervalMs);
  }

  async end(): Promise<(name: string) => number> {
    this.#isOver = true;
    await this.#looking;
    return (name) => this.#most.get(name) ?? 0;
  }

  async #look(process: { port: number }, names: readonly string[], intervalMs: number) {
    while (!this.#isOver) {
      for (const name of names) {
        this.#most.set(name, Math.max(this.#most.get(name) ?? 0, await metric(process, name)));
      }
      await sleep(intervalMs);
    }
  }
}
