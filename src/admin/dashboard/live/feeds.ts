/**
 * The live streams by what they show: one feed composes an event twice a second, and all viewers of it get the same text.
 * A feed lives while it has viewers, and a moment longer, so that a page that is loaded again finds it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { eventText } from './event-stream.ts';
import { Viewer } from './viewer.ts';

const INTERVAL_MS = 500;
const LINGER_MS = 2_000;
/** Viewers get an event in groups, with pauses: sends to hundreds at once would take a core from buyers for 10 ms. */
const GROUP_SIZE = 20;
const PAUSE_MS_MAX = 20;
/** All pauses of an event together, so that it reaches every viewer before the next one is composed. */
const PAUSES_MS_MAX = 300;

type EndReason = 'shutting_down' | 'sale_deleted' | 'signed_out';

/** Returns the data of the next event; `gone`: there is nothing to show any more; undefined: not yet. */
export type Compose = () => Promise<object | 'gone' | undefined>;

interface Subscriber {
  viewer: Viewer;
  /** Whether the client may still see it. */
  isAdmitted: () => boolean;
}

export class Feeds {
  readonly #log: Logger;
  readonly #byName = new Map<string, Feed>();
  readonly #stopping = new AbortController();

  constructor(log: Logger) {
    this.#log = log;
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** A stream of the feed with this name, which begins with this viewer if there is none. */
  join(name: string, event: string, compose: Compose, isAdmitted: () => boolean): Viewer {
    const viewer = new Viewer();
    if (this.#stopping.signal.aborted) {
      viewer.finish(endEvent('shutting_down'));
      return viewer;
    }
    const subscriber = { viewer, isAdmitted };
    const running = this.#byName.get(name);
    if (running) {
      running.add(subscriber);
      return viewer;
    }
    const feed = new Feed(event, compose, this.#log);
    feed.add(subscriber);
    this.#byName.set(name, feed);
    void feed.run(this.#stopping.signal).finally(() => this.#byName.delete(name));
    return viewer;
  }

  close(): void {
    this.#stopping.abort();
    for (const feed of this.#byName.values()) feed.end('shutting_down');
  }
}

class Feed {
  readonly #event: string;
  readonly #compose: Compose;
  readonly #log: Logger;
  readonly #subscribers = new Set<Subscriber>();
  #last: { text: Buffer; atMs: number } | undefined;
  #usedMs = performance.now();

  constructor(event: string, compose: Compose, log: Logger) {
    this.#event = event;
    this.#compose = compose;
    this.#log = log;
  }

  add(subscriber: Subscriber): void {
    this.#subscribers.add(subscriber);
    subscriber.viewer.once('close', () => this.#subscribers.delete(subscriber));
    if (this.#last && performance.now() - this.#last.atMs < 2 * INTERVAL_MS)
      subscriber.viewer.offer(this.#last.text);
  }

  /** Resolves when nobody has looked for a while, when the sale is gone, or when stopped. */
  async run(stopping: AbortSignal): Promise<void> {
    while (!stopping.aborted) {
      const startedMs = performance.now();
      if (this.#subscribers.size > 0) this.#usedMs = startedMs;
      else if (startedMs - this.#usedMs > LINGER_MS) return;
      if (this.#subscribers.size > 0 && (await this.#send(stopping)) === 'gone') {
        this.end('sale_deleted');
        return;
      }
      await pause(INTERVAL_MS - (performance.now() - startedMs), stopping);
    }
  }

  end(reason: EndReason): void {
    for (const { viewer } of this.#subscribers) viewer.finish(endEvent(reason));
  }

  async #send(stopping: AbortSignal): Promise<'sent' | 'gone'> {
    try {
      const data = await this.#compose();
      if (data === 'gone') return 'gone';
      if (data === undefined) return 'sent';
      const text = eventText(this.#event, data);
      this.#last = { text, atMs: performance.now() };
      // Those who come meanwhile get the last event when they join.
      const subscribers = [...this.#subscribers];
      const pauseMs = Math.min(PAUSE_MS_MAX, (PAUSES_MS_MAX * GROUP_SIZE) / subscribers.length);
      for (const [index, { viewer, isAdmitted }] of subscribers.entries()) {
        if (index > 0 && index % GROUP_SIZE === 0) await pause(pauseMs, stopping);
        if (isAdmitted()) viewer.offer(text);
        else viewer.finish(endEvent('signed_out'));
      }
    } catch (error) {
      this.#log.error({ err: error }, 'live event not composed');
    }
    return 'sent';
  }
}

/** At least a turn of the event loop; ends when stopped. */
async function pause(ms: number, stopping: AbortSignal): Promise<void> {
  await sleep(Math.max(1, ms), undefined, { signal: stopping, ref: false }).catch(() => undefined);
}

function endEvent(reason: EndReason): Buffer {
  return eventText('end', { reason });
}
