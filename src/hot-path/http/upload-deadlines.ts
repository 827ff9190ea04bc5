/** Aborts request bodies that arrive too slowly. The uploads form a linked list by age, so adding and removing is O(1). */

/** A body has at most 4 KiB; a slower client would hold a permit that another request needs. */
const UPLOAD_TIMEOUT_MS = 5_000;
const DRAINING_UPLOAD_TIMEOUT_MS = 1_000;
const CHECK_INTERVAL_MS = 250;

export interface Upload {
  /** On this process' monotonic clock. */
  readonly startedAt: number;
  /** The neighbours in the list. */
  older: Upload | undefined;
  younger: Upload | undefined;
  /** Must remove the upload from the list. */
  abortUpload(): void;
}

export class UploadDeadlines {
  #timeoutMs = UPLOAD_TIMEOUT_MS;
  #oldest: Upload | undefined;
  #youngest: Upload | undefined;
  readonly #timer = setInterval(() => this.#abortSlow(), CHECK_INTERVAL_MS);

  add(upload: Upload): void {
    upload.older = this.#youngest;
    if (this.#youngest) this.#youngest.younger = upload;
    else this.#oldest = upload;
    this.#youngest = upload;
  }

  /** Must be called exactly once for each added upload. */
  remove(upload: Upload): void {
    const { older, younger } = upload;
    if (older) older.younger = younger;
    else this.#oldest = younger;
    if (younger) younger.older = older;
    else this.#youngest = older;
    upload.older = undefined;
    upload.younger = undefined;
  }

  /** Applies the timeout of a process that shuts down, to uploads in progress too. */
  shorten(): void {
    this.#timeoutMs = DRAINING_UPLOAD_TIMEOUT_MS;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #abortSlow(): void {
    const latestStart = performance.now() - this.#timeoutMs;
    while (this.#oldest && this.#oldest.startedAt <= latestStart) this.#oldest.abortUpload();
  }
}
