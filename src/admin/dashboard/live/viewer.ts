/**
 * One client of a live stream. An event that it cannot take is left out, not queued: the next one has newer numbers. At
 * most one event waits in this process, beside what the socket holds.
 */
import { Readable } from 'node:stream';

export class Viewer extends Readable {
  /** The first event waits until the response reads. */
  #isWanted = true;
  #isFinished = false;

  constructor() {
    super({ highWaterMark: 1 });
  }

  override _read(): void {
    this.#isWanted = true;
  }

  /** Ignored while the client has not taken the event before. */
  offer(event: Buffer): void {
    if (!this.#isWanted || this.#isFinished || this.destroyed) return;
    this.#isWanted = false;
    this.push(event);
  }

  /** Sends the last event. Later ones are ignored. */
  finish(event: Buffer): void {
    if (this.#isFinished || this.destroyed) return;
    this.#isFinished = true;
    this.push(event);
    this.push(null);
  }
}
