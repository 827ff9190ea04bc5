/**
 * A sale, live: reads it, connects a WebSocket, and connects again after every loss.
 *
 *   connecting ──read the sale, connect, read the own state──▶ live
 *   live ──socket closed, or nothing arrives any more──▶ offline ──backoff──▶ connecting …
 *   any ──the sale does not exist, is archived, or close()──▶ closed
 *
 * After a reconnect the state is complete: the server sends the sale, the reservations and the ranks, and the read of the
 * own state also removes what has ended meanwhile.
 */
import type { LiveMessage, Problem, Reservation, Result, Sale } from './operations.ts';
import { OwnState, type Wait } from './own-state.ts';
import type { CallOptions } from './request.ts';
import { waitMsBefore } from './waiting.ts';

export interface LiveState {
  /** `offline`: the numbers may be old, and the next attempt to connect follows. */
  connection: 'connecting' | 'live' | 'offline' | 'closed';
  /** Why it is not live or could not be refreshed, such as `recovering`; undefined: no reason is known. */
  problem: Problem | undefined;
  /** Everything below is the state since this connection began. False: it may be old. */
  isComplete: boolean;
  sale: Sale | undefined;
  /** The buyer's reservations, by position. */
  reservations: Reservation[];
  /** What the buyer waits for. */
  waits: Wait[];
}

export interface LiveOptions {
  /** Called after each change, with a new object. */
  onChange: (state: LiveState) => void;
  signal?: AbortSignal | undefined;
  /**
   * How often a living connection is checked, and prices, times and the clock are read again: 30 s by default, plus or
   * minus a fifth. A connection that dies without a close is noticed then.
   */
  refreshMs?: number | undefined;
}

interface LiveTarget {
  saleId: string;
  /** Of the WebSocket. */
  url: string;
  token: () => Promise<string | undefined>;
  /** A connection that takes longer is given up. */
  openMsMax: number;
  source: {
    getSale(saleId: string, options: CallOptions): Promise<Result<'getSale'>>;
    getMine(saleId: string, options: CallOptions): Promise<Result<'getMine'>>;
  };
}

const REFRESH_MS = 30_000;
/** While the engine recovers. */
const REFRESH_SOON_MS = 2_000;
/** A change that the refresh has found arrives on a living connection within this time. */
const ARRIVAL_MS_MAX = 3_000;
/** Clients that a restart disconnected come back over this time. */
const RETURN_MS = 1_000;
/** Browsers fire them when a connection may have ended or can begin. */
const WAKING_EVENTS = ['online', 'offline', 'pageshow', 'visibilitychange'];
const FINAL_PROBLEMS = new Set(['sale_not_found', 'sale_ended', 'invalid_request']);

type Listen = (type: string, listener: () => void) => void;
/** Both exist in browsers only. */
const page = globalThis as { addEventListener?: Listen; removeEventListener?: Listen };

export class LiveSale {
  readonly #target: LiveTarget;
  readonly #onChange: (state: LiveState) => void;
  readonly #refreshMs: number;
  readonly #closing = new AbortController();
  readonly #own = new OwnState();
  #connection: LiveState['connection'] = 'connecting';
  #problem: Problem | undefined;
  #isComplete = false;
  #sale: Sale | undefined;
  /** The status and the units of the last message. */
  #lastMessage = '';
  #messages = 0;
  /** What the last refused read asked to wait. */
  #retryAfterMs = 0;
  /** Other fields of the sale than those in messages may have changed. */
  #isStale = false;
  /** Something has happened that the next pause need not wait for. */
  #isWoken = false;
  #endPause: () => void = () => undefined;

  constructor(target: LiveTarget, { onChange, signal, refreshMs = REFRESH_MS }: LiveOptions) {
    this.#target = target;
    this.#onChange = onChange;
    this.#refreshMs = refreshMs;
    for (const type of WAKING_EVENTS) page.addEventListener?.(type, this.#onPageEvent);
    if (signal?.aborted) this.close();
    else signal?.addEventListener('abort', () => this.close(), { signal: this.#closing.signal });
    void this.#run();
  }

  get state(): LiveState {
    return {
      connection: this.#connection,
      problem: this.#problem,
      isComplete: this.#isComplete,
      sale: this.#sale,
      reservations: this.#own.reservations,
      waits: this.#own.waits,
    };
  }

  /** Shows the reservation of a response at once. Its message can arrive a moment later. */
  accept(reservation: Reservation): void {
    this.#own.accept(reservation);
    this.#changed();
  }

  /** Stops everything. `onChange` is not called any more. */
  close(): void {
    this.#connection = 'closed';
    for (const type of WAKING_EVENTS) page.removeEventListener?.(type, this.#onPageEvent);
    this.#closing.abort();
    this.#wake();
  }

  async #run(): Promise<void> {
    for (let failures = 0; this.#connection !== 'closed'; ) {
      const wasLive = await this.#connectOnce().catch(() => false);
      failures = wasLive ? 0 : failures + 1;
      if (this.#isClosed()) return;
      this.#connection = 'offline';
      this.#isComplete = false;
      this.#changed();
      // The close of the socket has woken it.
      this.#isWoken = false;
      const waitMs = waitMsBefore(failures, this.#retryAfterMs);
      await this.#pause(wasLive ? RETURN_MS * Math.random() : waitMs);
    }
  }

  /** Returns when the connection is lost or could not be made; true: it was live. */
  async #connectOnce(): Promise<boolean> {
    if (!(await this.#readSale())) return false;
    const { url, token: tokenOf, openMsMax } = this.#target;
    const token = await tokenOf();
    if (this.#isClosed()) return false;
    // Browsers cannot set headers here, so the token is one of the offered subprotocols.
    const socket = new WebSocket(url, ['flash-sale', ...(token ? [`bearer.${token}`] : [])]);
    const close = () => socket.close();
    this.#closing.signal.addEventListener('abort', close, { once: true });
    try {
      socket.addEventListener('message', ({ data }) => this.#receive(String(data)));
      const isOpen = await opened(socket, openMsMax);
      // A refused upgrade has no reason here; this read has.
      if (token && !(await this.#readMine())) return false;
      if (!isOpen || this.#isClosed()) return false;
      this.#connection = 'live';
      this.#isComplete = true;
      this.#changed();
      await this.#stayLive(socket);
      return true;
    } finally {
      this.#closing.signal.removeEventListener('abort', close);
      close();
    }
  }

  /** Returns when the socket has closed, or is dead although it has not closed. */
  async #stayLive(socket: WebSocket): Promise<void> {
    socket.addEventListener('close', () => this.#wake());
    const isOpen = () => socket.readyState === WebSocket.OPEN;
    let refreshMs = this.#refreshMs;
    while (isOpen()) {
      await this.#pause(refreshMs * (0.8 + Math.random() * 0.4));
      // All clients get a new status at the same moment, and must not all read at that moment.
      if (this.#isStale) await this.#pause(RETURN_MS * Math.random());
      this.#isStale = false;
      if (!isOpen()) return;
      const messagesBefore = this.#messages;
      if (!(await this.#readSale())) {
        if (this.#problem === undefined) return;
        refreshMs = Math.max(REFRESH_SOON_MS, this.#retryAfterMs);
        continue;
      }
      refreshMs = this.#refreshMs;
      if (this.#sale && stateOf(this.#sale) === this.#lastMessage) continue;
      await this.#pause(ARRIVAL_MS_MAX);
      if (this.#messages === messagesBefore) return;
    }
  }

  /** False: it could not be read. */
  async #readSale(): Promise<boolean> {
    const { source, saleId } = this.#target;
    const result = await source.getSale(saleId, this.#callOptions());
    if (result.outcome === 'done') {
      const isOlder = this.#sale && this.#sale.serverTime > result.value.serverTime;
      // The counts of a message can be newer than this read.
      this.#sale = isOlder ? withCounts(result.value, this.#sale!) : result.value;
    }
    return this.#settle(result);
  }

  /** False: it could not be read. */
  async #readMine(): Promise<boolean> {
    const { source, saleId } = this.#target;
    const finish = this.#own.beginRead();
    const result = await source.getMine(saleId, this.#callOptions());
    if (result.outcome === 'done') finish(result.value);
    return this.#settle(result);
  }

  #settle(result: Result<'getSale'> | Result<'getMine'>): boolean {
    const isDone = result.outcome === 'done';
    this.#problem = isDone ? undefined : result.problem;
    this.#retryAfterMs = isDone ? 0 : result.retryAfterMs;
    const isFinal = result.outcome === 'refused' && FINAL_PROBLEMS.has(result.problem.code);
    if (isFinal) this.#connection = 'closed';
    this.#changed();
    if (isFinal) this.close();
    return isDone;
  }

  /** One attempt: this class waits between attempts, and less when the browser is online again. */
  #callOptions(): CallOptions {
    return { signal: this.#closing.signal, attemptsMax: 1 };
  }

  #receive(data: string): void {
    const message = JSON.parse(data) as LiveMessage;
    this.#messages += 1;
    if (message.type !== 'sale') {
      this.#own.receive(message);
    } else if (this.#sale) {
      this.#lastMessage = stateOf(message);
      // With the status, other fields may have changed that messages do not have.
      if (message.status !== this.#sale.status) {
        this.#isStale = true;
        this.#wake();
      }
      if (message.serverTime >= this.#sale.serverTime) {
        // A draft that opens may have got a start, which only the read knows.
        const status = this.#sale.status === 'draft' ? 'draft' : message.status;
        this.#sale = withCounts(this.#sale, { ...message, status });
      }
    }
    this.#changed();
  }

  #changed(): void {
    if (this.#closing.signal.aborted) return;
    try {
      this.#onChange(this.state);
    } catch (error) {
      // The page's error, which must not end the connection.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  readonly #onPageEvent = (): void => this.#wake();

  #wake(): void {
    this.#isWoken = true;
    this.#endPause();
  }

  /** A method, so that the compiler does not take an earlier check for granted after an await. */
  #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Ends early when something happens, or has happened since the last pause. */
  async #pause(ms: number): Promise<void> {
    if (!this.#isWoken && !this.#isClosed()) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#endPause = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#isWoken = false;
  }
}

/** False: the server refused the connection, or was too slow. */
function opened(socket: WebSocket, msMax: number): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (isOpen: boolean) => {
      clearTimeout(timer);
      resolve(isOpen);
    };
    const timer = setTimeout(() => end(false), msMax);
    socket.addEventListener('open', () => end(true));
    socket.addEventListener('close', () => end(false));
    // Node reports a refused connection by this event alone.
    socket.addEventListener('error', () => end(false));
  });
}

type Counts = Pick<Sale, 'status' | 'serverTime'> & {
  skus: Pick<Sale['skus'][number], 'sku' | 'remaining' | 'soldOut'>[];
};

function stateOf({ status, skus }: Counts): string {
  return JSON.stringify([status, skus.map(({ sku, remaining }) => [sku, remaining])]);
}

function withCounts(sale: Sale, { status, serverTime, skus }: Counts): Sale {
  const bySku = new Map(skus.map((each) => [each.sku, each]));
  return {
    ...sale,
    status,
    serverTime,
    skus: sale.skus.map((each) => {
      const counts = bySku.get(each.sku);
      return counts ? { ...each, remaining: counts.remaining, soldOut: counts.soldOut } : each;
    }),
  };
}
