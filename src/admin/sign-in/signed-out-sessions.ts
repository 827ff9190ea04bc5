/**
 * Sessions that were signed out before their end, so that a copy of the cookie is worthless too. Redis shares them among
 * all admins. While it is unavailable, an admin knows only those that it has signed out itself.
 */
import { LRUCache } from 'lru-cache';
import type { Shards } from '../../redis/shards.ts';
import { RedisTexts } from './redis-texts.ts';
import { SESSION_SECONDS_MAX, type Session } from './sessions.ts';

const OWN_MAX = 10_000;
/** A Redis that does not reply must not delay operators for long. */
const LOOKUP_MS_MAX = 250;

export class SignedOutSessions {
  readonly #own = new LRUCache<string, true>({ max: OWN_MAX });
  readonly #shared: RedisTexts;

  constructor(shards: Shards) {
    this.#shared = new RedisTexts(shards, 'signed-out');
  }

  async add({ id, startedAtSeconds }: Session): Promise<void> {
    this.#own.set(id, true);
    // As long as a copy of the cookie could be renewed.
    const seconds = Math.ceil(startedAtSeconds + SESSION_SECONDS_MAX - Date.now() / 1000);
    await this.#shared.set(id, '1', Math.max(1, seconds)).catch(() => undefined);
  }

  async has({ id }: Session): Promise<boolean> {
    if (this.#own.has(id)) return true;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), LOOKUP_MS_MAX);
    });
    const lookup = this.#shared.has(id).catch(() => false);
    const isSignedOut = await Promise.race([lookup, timeout]);
    clearTimeout(timer);
    if (isSignedOut) this.#own.set(id, true);
    return isSignedOut;
  }
}
