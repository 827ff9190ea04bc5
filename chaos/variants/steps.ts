/** The steps from which the scenarios of variants are made. */
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { endAndArchive } from '../clients/archiving.ts';
import { nowMs, reservationsIn } from '../clients/history.ts';
import { runPersisterOnCopy } from '../faults/copied-database.ts';
import { type Loss, loseRedisData } from '../faults/losses.ts';
import { type Restore, takeBackup } from '../faults/restored-backup.ts';
import type { DataLossKind } from '../faults/schedule.ts';
import type { RunContext } from '../run.ts';

const PATIENCE_MS = 10_000;
const CATCH_MS_MAX = 10_000;
/** Much longer than a persister waits before it claims entries of another one. */
const DRAINED_MS_MAX = 20_000;
const AT_REST_MS_MAX = 20_000;
const HOT_PATH_LINKS = ['hot-path-1>redis', 'hot-path-2>redis'] as const;

interface BuyChoices {
  key?: string;
  quantity?: number;
}

export class Steps {
  readonly #run: RunContext;
  readonly losses: Loss[] = [];
  readonly consumed: string[] = [];
  restore: Restore | undefined;

  constructor(run: RunContext) {
    this.#run = run;
    this.setPatience(PATIENCE_MS);
  }

  /** How long clients repeat requests from now on. */
  setPatience(patienceMs: number): void {
    this.#run.client.patienceEndsMs = nowMs() + patienceMs;
  }

  get stack(): RunContext['stack'] {
    return this.#run.stack;
  }

  /** Repeats the request until it is settled. */
  async buy(buyerId: string, choices: BuyChoices = {}): Promise<string | undefined> {
    const exchange = await this.#run.client.sendUntilSettled(
      buyOf(buyerId, choices),
      this.#run.random,
    );
    return exchange && reservationsIn(exchange)[0]?.reservationId;
  }

  /** In parallel. Returns the ids of the reservations. */
  async buyMany(count: number, prefix: string): Promise<string[]> {
    const ids = await Promise.all(buyersOf(count, prefix).map((buyerId) => this.buy(buyerId)));
    return ids.filter((id) => id !== undefined);
  }

  async transition(
    kind: 'confirm' | 'cancel',
    reservationIds: readonly string[],
    fields: { paymentRef?: string; reclaim?: true; restock?: false } = {},
  ): Promise<void> {
    const { client, random } = this.#run;
    for (const reservationId of reservationIds)
      await client.sendUntilSettled({ kind, reservationId, ...fields }, random);
  }

  /** Cancels one unit of each reservation, with the same key every time. */
  async cancelPart(reservationIds: readonly string[]): Promise<void> {
    const { client, random } = this.#run;
    const part = { key: 'part', items: [{ sku: 'unit', quantity: 1 }] };
    for (const reservationId of reservationIds)
      await client.sendUntilSettled({ kind: 'cancel-part', reservationId, ...part }, random);
  }

  /** Repeats the request until it is settled. */
  async moveEnd(endsAtMs: number): Promise<void> {
    await this.#run.client.sendUntilSettled({ kind: 'move-end', endsAtMs }, this.#run.random);
  }

  /** The sale must be at rest. */
  async endAndArchive(): Promise<void> {
    await endAndArchive(this.#run.client, this.#run.random);
  }

  async join(buyerId: string, quantity: number): Promise<void> {
    const { client, random } = this.#run;
    await client.sendUntilSettled({ kind: 'join', buyerId, sku: 'unit', quantity }, random);
  }

  async leave(buyerId: string): Promise<void> {
    await this.#run.client.sendUntilSettled({ kind: 'leave', buyerId }, this.#run.random);
  }

  /** Whether persisters read all events within this time. */
  async areDelivered(timeoutMs: number): Promise<boolean> {
    const { inspector, terms } = this.#run;
    const isDelivered = async () => {
      if (!(await inspector.isDelivered(terms.saleId))) throw new Error('not delivered');
      return true;
    };
    return eventually(isDelivered, { timeoutMs }).catch(() => false);
  }

  async untilDrained(): Promise<void> {
    const { inspector, terms } = this.#run;
    await eventually(
      async () => {
        if (!(await inspector.isDrained(terms.saleId))) throw new Error('not drained');
      },
      { timeoutMs: DRAINED_MS_MAX },
    );
  }

  /** Nothing is held, and the sale is open on this server, so a recovery is also over. */
  async untilAtRest(): Promise<void> {
    const { inspector, terms } = this.#run;
    await eventually(
      async () => {
        const pending = await inspector.pendingWork(terms.saleId);
        if (pending !== undefined) throw new Error(pending);
      },
      { timeoutMs: AT_REST_MS_MAX },
    );
  }

  /** Makes Redis lose data. */
  async loseData(kind: DataLossKind): Promise<void> {
    this.losses.push(await loseRedisData(kind, this.stack, 0));
  }

  /** A backup of PostgreSQL, and the step that restores it. */
  async takeBackup(): Promise<() => Promise<void>> {
    const restore = await takeBackup(this.stack, this.#run.inspector);
    if (!restore) throw new Error('PostgreSQL was not backed up');
    return async () => {
      this.restore = await restore();
    };
  }

  async runPersisterOnCopy(forMs: number): Promise<void> {
    const { hasRun, consumed } = await runPersisterOnCopy(this.stack, forMs);
    if (!hasRun) throw new Error('the database was not copied');
    if (consumed) this.consumed.push(consumed);
  }

  /** Sends one purchase whose reply to the hot path is lost; then the hot path cannot reach Redis for `downMs`. */
  async loseReplyTo(buyerId: string, downMs: number): Promise<void> {
    const links = HOT_PATH_LINKS.map((name) => this.stack.link(name));
    const traps = links.map((link) => link.loseReplyTo(reserve.sha1));
    const sent = this.#run.client.send(buyOf(buyerId, {}), this.#run.random);
    // Before the hot path reconnects.
    for (let waitedMs = 0; !traps.some(({ hasCaught }) => hasCaught); waitedMs++) {
      if (waitedMs > CATCH_MS_MAX) throw new Error('the purchase did not reach Redis');
      await sleep(1);
    }
    for (const link of links) link.refuse();
    await sleep(downMs);
    for (const link of links) link.heal();
    await sent;
  }
}

function buyersOf(count: number, prefix: string): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}-${index + 1}`);
}

function buyOf(buyerId: string, { key, quantity = 1 }: BuyChoices) {
  return { kind: 'buy', buyerId, key, items: [{ sku: 'unit', quantity }] } as const;
}
