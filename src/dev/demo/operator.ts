/** The operator of the demo, a client of the admin API. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../domain/fault.ts';
import type { StackDescription } from '../stack/stack-description.ts';

export interface Check {
  name: string;
  ok: boolean;
  expected: unknown;
  actual: unknown;
}

export interface VerifyReport {
  ok: boolean;
  checks: Check[];
}

export interface StockCounts {
  remaining: number;
  held: number;
  confirmed: number;
}

const SKU = 'phone';
const OPENING_DEADLINE_MS = 15_000;
const VERDICT_DEADLINE_MS = 30_000;
const POLL_INTERVAL_MS = 250;

export class Operator {
  readonly #stack: StackDescription;

  constructor(stack: StackDescription) {
    this.#stack = stack;
  }

  /** Creates and opens a sale of one SKU, then waits until the hot path shows it open. */
  async openSale(
    saleId: string,
    { units, holdSeconds, startsAt }: { units: number; holdSeconds: number; startsAt?: Date },
    stopping: AbortSignal,
  ): Promise<void> {
    await this.#call('POST', '/sales', {
      saleId,
      name: 'Demo: one phone each',
      currency: 'EUR',
      perBuyerLimit: 1,
      holdSeconds,
      ...(startsAt && { startsAt: startsAt.toISOString() }),
      skus: [{ sku: SKU, name: 'Phone', price: 49_900, stock: units }],
    });
    await this.#call('POST', `/sales/${saleId}/open`);
    const deadline = Date.now() + OPENING_DEADLINE_MS;
    while (!(await this.#isOpenForBuyers(saleId))) {
      stopping.throwIfAborted();
      if (Date.now() > deadline) {
        throw new Fault(
          'server_unfit',
          `The hot path does not show the sale ${saleId} as open; see the logs.`,
        );
      }
      await sleep(POLL_INTERVAL_MS);
    }
  }

  /** Registers a webhook for the sale's reservations. Returns the secret that signs its messages. */
  async registerWebhook(saleId: string, url: string): Promise<string> {
    const events = [
      'reservation.reserved',
      'reservation.cancelled',
      'reservation.partly_cancelled',
    ];
    const body = { url, saleId, events };
    const { secret } = (await this.#call('POST', '/webhooks', body)) as { secret: string };
    return secret;
  }

  /** Reads the live counts of the sale's only SKU. */
  async countStock(saleId: string): Promise<StockCounts> {
    const { skus } = (await this.#call('GET', `/sales/${saleId}`)) as { skus: StockCounts[] };
    return skus[0]!;
  }

  /** Runs the engine's verification. Repeats a failed one for a while, because a recovery may be in progress. */
  async verify(saleId: string, stopping: AbortSignal): Promise<VerifyReport> {
    const deadline = Date.now() + VERDICT_DEADLINE_MS;
    for (;;) {
      const report = (await this.#call('GET', `/sales/${saleId}/verify`)) as VerifyReport;
      stopping.throwIfAborted();
      if (report.ok || Date.now() > deadline) return report;
      await sleep(POLL_INTERVAL_MS);
    }
  }

  async #isOpenForBuyers(saleId: string): Promise<boolean> {
    const response = await fetch(`${this.#stack.hotPathUrl}/v1/sales/${saleId}`);
    const sale = (await response.json()) as { status?: unknown };
    return response.ok && sale.status === 'open';
  }

  async #call(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.#stack.adminUrl}/admin/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#stack.adminToken}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await response.text();
    if (response.ok) return JSON.parse(text);
    throw new Fault(
      'server_unfit',
      `${method} /admin/v1${path} returned ${response.status}: ${text}`,
    );
  }
}
