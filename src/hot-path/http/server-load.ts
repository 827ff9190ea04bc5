/**
 * What one process has in hand: connections, requests, bodies on their way. So many requests and no more, so long for a
 * body and no longer: then a process that is pressed stays small, and one that is to stop knows when it may.
 */

/** 4 KiB take no time; whoever takes so long over them keeps a place from somebody else. */
const UPLOAD_MS_MAX = 5_000;
/** The same once the process is to stop. */
const DRAINING_UPLOAD_MS_MAX = 1_000;
const SWEEP_INTERVAL_MS = 250;

/** A body that is arriving; it knows its neighbours, so that it can leave from anywhere at no cost. */
export interface Upload {
  /** On this process' monotonic clock. */
  readonly startedAt: number;
  /** The next older and the next younger, while it is in the list. */
  older: Upload | undefined;
  younger: Upload | undefined;
  /** Ends it. */
  giveUp(): void;
}

export class ServerLoad {
  /** Open ones, without WebSockets. */
  connections = 0;
  /** Requests that have not been answered. */
  pending = 0;
  /** Set when the process is about to go: each answer then also closes its connection. */
  draining = false;
  readonly #requestsMax: number;
  #oldest: Upload | undefined;
  #youngest: Upload | undefined;
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
    upload.older = this.#youngest;
    if (this.#youngest) this.#youngest.younger = upload;
    else this.#oldest = upload;
    this.#youngest = upload;
  }

  /** Once, of one that was started. */
  endUpload(upload: Upload): void {
    const { older, younger } = upload;
    if (older) older.younger = younger;
    else this.#oldest = younger;
    if (younger) younger.older = older;
    else this.#youngest = older;
    upload.older = undefined;
    upload.younger = undefined;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #endSlowUploads(): void {
    const oldest = performance.now() - (this.draining ? DRAINING_UPLOAD_MS_MAX : UPLOAD_MS_MAX);
    while (this.#oldest && this.#oldest.startedAt <= oldest) this.#oldest.giveUp();
  }
}
