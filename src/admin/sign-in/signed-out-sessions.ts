/**
 * Sessions that were signed out before their end, so that a copy of the cookie is worthless too. Redis shares them among
 * all admins. While it is unavailable, an admin knows only those that it has signed out itself; it tells Redis of them
 * whenever there is a connection again.
 */
import { LRUCache } from 'lru-cache';
import type { Shards } from '../../redis/shards.ts';
import { RedisTexts } from './redis-texts.ts';
import { SESSION_SECONDS_MAX, type Session } from './sessions.ts';

const OWN_MAX = 10_000;
/** A Redis that does not reply must not delay operators for long. */
const LOOKUP_MS_MAX = 250;

export class SignedOutSessions {
  /** Until when they have to be known, in seconds since the epoch. */
  readonly #own = new LRUCache<string, number>({ max: OWN_MAX });
  /** Signed out at other admins. */
  readonly #others = new LRUCache<string, true>({ max: OWN_MAX });
  readonly #shared: RedisTexts;

  constructor(shards: Shards) {
    this.#shared = new RedisTexts(shards, 'signed-out');
    shards.onReady(() => {
      for (const [id, untilSeconds] of this.#own.entries()) void this.#publish(id, untilSeconds);
    });
  }

  async add({ id, startedAtSeconds }: Session): Promise<void> {
    // As long as a copy of the cookie could be renewed.
    const untilSeconds = startedAtSeconds + SESSION_SECONDS_MAX;
    this.#own.set(id, untilSeconds);
    await this.#publish(id, untilSeconds);
  }

  async has({ id }: Session): Promise<boolean> {
    if (this.#own.has(id) || this.#others.has(id)) return true;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), LOOKUP_MS_MAX);
    });
    const lookup = this.#shared.has(id).catch(() => false);
    const isSignedOut = await Promise.race([lookup, timeout]);
    clearTimeout(timer);
    if (isSignedOut) this.#others.set(id, true);
    return isSignedOut;
  }

  /** If Redis is unavailable, it is repeated with the next connection. */
  async #publish(id: string, untilSeconds: number): Promise<void> {
    const seconds = Math.ceil(untilSeconds - Date.now() / 1_000);
    if (seconds > 0) await this.#shared.set(id, '1', seconds).catch(() => undefined);
  }
}
