/** The load of one process: open connections and requests in progress, with the limit above which it refuses requests. */
import { UploadDeadlines } from './upload-deadlines.ts';

export class ServerLoad {
  /** Open connections, WebSockets excluded. */
  connections = 0;
  /** Requests without a response so far. */
  pending = 0;
  readonly uploads = new UploadDeadlines();
  readonly #requestsMax: number;
  #isDraining = false;

  constructor(requestsMax: number) {
    this.#requestsMax = requestsMax;
  }

  /** True while the process shuts down: each response then closes its connection. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** The request that reads this is already counted as pending. */
  get isOverloaded(): boolean {
    return this.pending > this.#requestsMax;
  }

  startDraining(): void {
    this.#isDraining = true;
    this.uploads.shorten();
  }

  close(): void {
    this.uploads.close();
  }
}
