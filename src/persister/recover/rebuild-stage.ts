/**
 * Sends a rebuilt sale to Redis in numbered portions, a few in flight at a time. The script checks that each follows the
 * one before, on the same server and for the same recovery.
 */
import { noteField } from '../../domain/merchant-note.ts';
import { formatRecord } from '../../domain/reservation-codec.ts';
import { discardRebuild } from '../../lua/recover/discard-rebuild.ts';
import { finishRebuild, type RebuiltSale } from '../../lua/recover/finish-rebuild.ts';
import { type Portion, stageRebuild } from '../../lua/recover/stage-rebuild.ts';
import type { StreamConsumer } from '../stream/consumer.ts';
import type { ReservationRow } from './rebuild-rows.ts';

const IN_FLIGHT_MAX = 4;
/** Reservations, waitlist members and merchant notes per portion. Redis serves no other sale while it stores one. */
const PORTION = 500;

/** The recovery that rebuilds: the timeline that it begins, and the name under which it closed the sale. */
interface Rebuilder {
  timeline: number;
  closing: string;
}

export class RebuildStage {
  holds = 0;
  waiting = 0;
  /** Waitlist members that could not be read. */
  dropped = 0;
  readonly #stream: StreamConsumer;
  readonly #rebuilder: Rebuilder;
  readonly #inFlight: Promise<boolean>[] = [];
  #parts = 0;
  #portion = emptyPortion();
  /** Consecutive positions whose holds have the same deadline are stored as one range. */
  #range: { deadlineMs: string; first: number; last: number } | undefined;

  constructor(stream: StreamConsumer, rebuilder: Rebuilder) {
    this.#stream = stream;
    this.#rebuilder = rebuilder;
  }

  addReservation(row: ReservationRow): void {
    this.#portion.records.push(row.buyerId, formatRecord(row));
    if (row.status === 'reserved') this.#addHold(row.position, row.expiresAtMs);
  }

  addWaiting(member: string, field: string): void {
    this.waiting += 1;
    this.#portion.line.push(member, field);
  }

  addNote(position: number, note: string): void {
    this.#portion.notes.push(noteField(position), note);
  }

  get isFull(): boolean {
    const { records, line, notes } = this.#portion;
    return records.length + line.length + notes.length >= 2 * PORTION;
  }

  /** Sends the current portion. False: superseded. */
  async send(): Promise<boolean> {
    const portion = this.#portion;
    this.#portion = emptyPortion();
    const staged = this.#stage(++this.#parts, portion);
    // A later call gets the error; until then it must not count as unhandled.
    staged.catch(() => undefined);
    this.#inFlight.push(staged);
    return this.#inFlight.length < IN_FLIGHT_MAX || (await this.#inFlight.shift()!);
  }

  /** Puts the sale in place, or removes it if `sale` is undefined. False: superseded. */
  async finish(
    sale: RebuiltSale | undefined,
    beforeOpening: () => Promise<boolean>,
  ): Promise<boolean> {
    this.#endRange();
    const isStaged =
      (await this.send()) &&
      (await Promise.all(this.#inFlight)).every((isOneStaged) => isOneStaged);
    if (!isStaged || !(await beforeOpening())) return false;
    const { server, saleId } = this.#stream;
    const rebuild = { ...this.#rebuilder, parts: this.#parts, sale };
    return (await server.call(finishRebuild, saleId, rebuild)) === 'finished';
  }

  /** Deletes the staged data. */
  async discard(): Promise<void> {
    await Promise.allSettled(this.#inFlight);
    const { server, saleId } = this.#stream;
    await server.call(discardRebuild, saleId, { timeline: this.#rebuilder.timeline });
  }

  async #stage(part: number, portion: Portion): Promise<boolean> {
    const { server, saleId } = this.#stream;
    const stage = { timeline: this.#rebuilder.timeline, part, portion };
    return (await server.call(stageRebuild, saleId, stage)) === 'staged';
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
  return { records: [], holds: [], line: [], notes: [] };
}
