/** Verifications of sales, one of each sale at a time: it reads the whole sale, so all who ask meanwhile get its report. */
import type { Progress } from '../../verify/check.ts';
import { type Report, verifySale } from '../../verify/verify.ts';
import type { AdminContext } from '../context.ts';
import { SingleFlight } from '../http/single-flight.ts';

type Listener = (progress: Progress) => void;

export class Verifications {
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #flights: SingleFlight<Report>;

  constructor(context: AdminContext) {
    const { failedChecks } = context.metrics;
    this.#flights = new SingleFlight(async (saleId) => {
      const report = await verifySale(context, saleId, undefined, (progress) => {
        for (const listener of this.#listeners.get(saleId) ?? []) listener(progress);
      });
      for (const { name, ok } of report.checks) if (!ok) failedChecks.inc({ check: name });
      return report;
    });
  }

  async run(saleId: string, onProgress: Listener = () => undefined): Promise<Report> {
    const listeners = this.#listeners.get(saleId) ?? new Set();
    this.#listeners.set(saleId, listeners.add(onProgress));
    try {
      return await this.#flights.join(saleId);
    } finally {
      listeners.delete(onProgress);
      if (listeners.size === 0) this.#listeners.delete(saleId);
    }
  }
}
