/**
 * Compares the merchant notes in Redis with the history. A note follows from the events up to a number, so a note and the
 * number of the last event, read at one moment, decide it however busy the sale is.
 */
import { positionOfNote } from '../domain/merchant-note.ts';
import { ordinalOf } from '../domain/positions.ts';
import type { SaleState } from '../lua/read/read-sale.ts';
import { notesAt, readNotes } from '../postgres/merchant-notes.ts';
import { type Check, counted, type Verification, Violations } from './check.ts';
import { SeenOrdinals } from './compare-order.ts';

export class NoteComparison {
  readonly #verification: Verification;
  readonly #upTo: SaleState;
  readonly #seen: SeenOrdinals;
  readonly #differences = new Violations();
  #compared = 0;
  #obstacle: string | undefined;

  constructor(verification: Verification, upTo: SaleState) {
    this.#verification = verification;
    this.#upTo = upTo;
    this.#seen = new SeenOrdinals(ordinalOf(upTo.position, upTo.gaps));
  }

  /** Fields of `past`, read together with the number of the last event. */
  async compare(fields: readonly [field: string, value: string][], event: number): Promise<void> {
    const notes = fields.flatMap(([field, note]) => {
      const position = positionOfNote(field);
      return position === undefined ? [] : [{ position, note }];
    });
    if (notes.length === 0) return;
    const { servers, saleId, waitForEvent } = this.#verification;
    this.#obstacle ??= await waitForEvent(event);
    if (this.#obstacle !== undefined) return;
    const positions = notes.map(({ position }) => position);
    const expected = await notesAt(servers.sql, saleId, positions, event);
    this.#compared += notes.length;
    for (const { position, note } of notes) {
      if (position <= this.#upTo.position) this.#seen.add(ordinalOf(position, this.#upTo.gaps));
      const byHistory = expected.get(position) ?? 'nothing';
      if (note !== byHistory) {
        this.#differences.add(
          `position ${position}: ${note} in Redis, ${byHistory} by the history`,
        );
      }
    }
  }

  /** Call it after all notes in Redis were compared. */
  async check(): Promise<Check> {
    const { servers, saleId, waitForEvent } = this.#verification;
    const { events, gaps } = this.#upTo;
    this.#obstacle ??= await waitForEvent(events);
    for await (const notes of readNotes(servers.sql, saleId, events)) {
      for (const { position, note } of notes) {
        if (this.#seen.has(ordinalOf(position, gaps))) continue;
        this.#differences.add(`position ${position}: nothing in Redis, ${note} by the history`);
      }
    }
    const wrong = [
      ...(this.#differences.count > 0 ? [String(this.#differences)] : []),
      ...(this.#obstacle === undefined ? [] : [`not compared: ${this.#obstacle}`]),
    ];
    return {
      name: 'merchant-notes-follow-the-history',
      ok: wrong.length === 0,
      expected:
        'Redis has the payment of each confirmation and the part of each cancellation that the history has',
      actual: wrong.join('; ') || `${counted(this.#compared, 'note')} compared`,
    };
  }
}
