/** Buyers who come at a rate that changes, in a thread of its own, so that nothing else delays them. */
import { Worker } from 'node:worker_threads';

/** What happened within a second. */
export interface CrowdSecond {
  /** Buyers who came. */
  came: number;
  reserved: number;
  /** 503 with `Retry-After`. */
  refused: number;
  /** They waited too long for a free connection. */
  gaveUp: number;
  /** Any other response, and connections that closed, by what they were. */
  failed: Record<string, number>;
  /** From the moment a buyer came, of all responses. */
  p50Ms: number;
  p99Ms: number;
  /** Ids of new reservations. */
  reservations: string[];
}

/** Moments in seconds from the start, and buyers per second; linear in between. The crowd ends at the last one. */
export type Shape = readonly (readonly [second: number, perSecond: number])[];

export interface CrowdChoices {
  port: number;
  saleId: string;
  /** Starts every buyer's name. */
  prefix: string;
  shape: Shape;
  /** At most so many requests are in flight; other buyers wait. */
  connections: number;
  giveUpMs: number;
}

/** Calls `report` once a second. Resolves when every buyer has a response or gave up. */
export function sendCrowd(
  choices: CrowdChoices,
  report: (second: CrowdSecond) => void,
): Promise<void> {
  const worker = new Worker(new URL('crowd-worker.ts', import.meta.url), { workerData: choices });
  return new Promise((resolve, reject) => {
    worker.on('message', report);
    worker.on('error', reject);
    worker.on('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`the crowd ended with ${code}`)),
    );
  });
}

export function rateAt(shape: Shape, second: number): number {
  const next = shape.findIndex(([at]) => at > second);
  if (next <= 0) return 0;
  const [from, rate] = shape[next - 1]!;
  const [to, nextRate] = shape[next]!;
  return rate + ((nextRate - rate) * (second - from)) / (to - from);
}
