/**
 * What is to take a sale's place, on its way to Redis in numbered portions. A few are under way at a time; each checks
 * that it follows the one before, on the same server and for the same recovery.
 */
import { formatRecord } from '../../domain/reservation-codec.ts';
import { discardRebuild } from '../../lua/recover/discard-rebuild.ts';
import { finishRebuild, type RebuiltSale } from '../../lua/recover/finish-rebuild.ts';
import { type Portion, stageRebuild } from '../../lua/recover/stage-rebuild.ts';
import type { PinnedServer } from '../../redis/shard.ts';
import type { ReservationRow } from './rebuild-rows.ts';

const UNDER_WAY_MAX = 4;
/** Reservations and places in line of one portion: buyers of other sales wait for as long as Redis takes it in. */
const PORTION = 500;

/** Which recovery it is that rebuilds. */
export interface Rebuilder {
  saleId: string;
  timeline: number;
  /** Under which the sale is closed meanwhile. */
  closing: string;
}

export interface WaitingMember {
  member: string;
  field: string;
  sku: string;
  ticket: number;
}

/** Positions in a row whose holds end at the same time are kept as one range. */
interface HoldRange {
  deadlineMs: string;
  first: number;
  last: number;
}

export class RebuildStage {
  holds = 0;
  waiting = 0;
  readonly #server: PinnedServer;
  readonly #rebuilder: Rebuilder;
  readonly #underWay: Promise<boolean>[] = [];
  #parts = 0;
  #portion = emptyPortion();
  #range: HoldRange | undefined;

  constructor(server: PinnedServer, rebuilder: Rebuilder) {
    this.#server = server;
    this.#rebuilder = rebuilder;
  }

  addReservation(row: ReservationRow): void {
    this.#portion.records.push(row.buyerId, formatRecord(row));
    if (row.status === 'reserved') this.#addHold(row.position, row.expiresAtMs);
  }

  addWaiting({ member, field }: WaitingMember): void {
    this.waiting += 1;
    this.#portion.line.push(member, field);
  }

  get isFull(): boolean {
    return this.#portion.records.length + this.#portion.line.length >= 2 * PORTION;
  }

  /** False: superseded. */
  async send(): Promise<boolean> {
    const portion = this.#portion;
    this.#portion = emptyPortion();
    const staged = this.#stage(++this.#parts, portion);
    // Whoever awaits it gets the error; until somebody does it must not count as unhandled.
    staged.catch(() => undefined);
    this.#underWay.push(staged);
    return this.#underWay.length < UNDER_WAY_MAX || (await this.#underWay.shift()!);
  }

  /** Puts the sale in its place, or removes what there is of it. False: superseded. */
  async finish(
    sale: RebuiltSale | undefined,
    beforeOpening: () => Promise<boolean>,
  ): Promise<boolean> {
    this.#endRange();
    if (!(await this.#sendRest()) || !(await beforeOpening())) return false;
    const { saleId, timeline, closing } = this.#rebuilder;
    const rebuild = { timeline, closing, parts: this.#parts, sale };
    return (await this.#server.call(finishRebuild, saleId, rebuild)) === 'finished';
  }

  /** Frees what was staged. */
  async discard(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    const { saleId, timeline } = this.#rebuilder;
    await this.#server.call(discardRebuild, saleId, { timeline });
  }

  async #stage(part: number, portion: Portion): Promise<boolean> {
    const { saleId, timeline } = this.#rebuilder;
    const stage = { timeline, part, portion };
    return (await this.#server.call(stageRebuild, saleId, stage)) === 'staged';
  }

  async #sendRest(): Promise<boolean> {
    const isLastStaged = await this.send();
    return isLastStaged && (await Promise.all(this.#underWay)).every((isStaged) => isStaged);
  }

  #addHold(position: number, deadlineMs: string): void {
    this.holds += 1;
    const range = this.#range;
    if (range?.last === position - 1 && range.deadlineMs === deadlineMs) {
      range.last = position;
      return;
    }
    this.#endRange();
    this.#range = { deadlineMs, first: position, last: position };
  }

  #endRange(): void {
    if (!this.#range) return;
    const { deadlineMs, first, last } = this.#range;
    this.#portion.holds.push(deadlineMs, `${first}-${last}`);
    this.#range = undefined;
  }
}

function emptyPortion(): Portion {
  return { records: [], holds: [], line: [] };
}
