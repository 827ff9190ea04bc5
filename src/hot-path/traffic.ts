/**
 * What one process has in hand: connections, requests, bodies on their way. So many requests and no more, so long for a
 * body and no longer: then a process that is pressed stays small, and one that is to stop knows when it may.
 */

/** 4 KiB take no time; whoever takes so long over them keeps a place from somebody else. */
const UPLOAD_MS_MAX = 5_000;
/** The same once the process is to stop. */
const DRAINING_UPLOAD_MS_MAX = 1_000;
const SWEEP_INTERVAL_MS = 250;

/** A body that is arriving. */
export interface Upload {
  /** On this process' monotonic clock. */
  startedAt: number;
  giveUp(): void;
}

export class Traffic {
  /** Open ones, without WebSockets. */
  connections = 0;
  /** Requests that have not been answered. */
  pending = 0;
  /** Set when the process is about to go: each answer then also closes its connection. */
  draining = false;
  readonly #requestsMax: number;
  /** In the order in which they began. */
  readonly #uploads = new Set<Upload>();
  readonly #timer: NodeJS.Timeout;

  constructor(requestsMax: number) {
    this.#requestsMax = requestsMax;
    this.#timer = setInterval(() => this.#endSlowUploads(), SWEEP_INTERVAL_MS);
  }

  /** With the request that asks: it is among the pending already. */
  get isOverfull(): boolean {
    return this.pending > this.#requestsMax;
  }

  startUpload(upload: Upload): void {
    this.#uploads.add(upload);
  }

  endUpload(upload: Upload): void {
    this.#uploads.delete(upload);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #endSlowUploads(): void {
    const oldest = performance.now() - (this.draining ? DRAINING_UPLOAD_MS_MAX : UPLOAD_MS_MAX);
    for (const upload of this.#uploads) {
      if (upload.startedAt > oldest) return;
      this.#uploads.delete(upload);
      upload.giveUp();
    }
  }
}
