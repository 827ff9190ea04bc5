/**
 * Tokens that were verified, so that it is done once: bounded in number and in bytes, those not seen for longest leave
 * first. They are found by the end of their signature, for hashing a whole token is most of the work of finding it, and
 * then compared as a whole.
 */

/**
 * In each of two generations: when the young one is full it becomes the old one, and what was old is forgotten. So
 * many tokens that come again in turn are all known, and at most twice as many are kept.
 */
const TOKENS_MAX = 100_000;
const BYTES_MAX = 32 * 1024 * 1024;
/** An HMAC-SHA256 in base64url. */
const ENDING = 43;
/** What a token takes besides its text. */
const OVERHEAD_BYTES = 100;

export interface Remembered {
  buyerId: string;
  /** From the token's `exp`, ms; a token without one does not expire. */
  expiresAt: number;
}

interface Entry {
  authorization: string;
  remembered: Remembered;
}

export class RememberedTokens {
  #young = new Map<string, Entry>();
  #old = new Map<string, Entry>();
  #youngBytes = 0;

  /** By the header as it was sent. */
  get(authorization: string): Remembered | undefined {
    const ending = authorization.slice(-ENDING);
    let entry = this.#young.get(ending);
    if (entry === undefined) {
      entry = this.#old.get(ending);
      if (entry?.authorization === authorization) this.#keep(ending, entry);
    }
    return entry?.authorization === authorization ? entry.remembered : undefined;
  }

  set(authorization: string, remembered: Remembered): void {
    this.#keep(authorization.slice(-ENDING), { authorization, remembered });
  }

  #keep(ending: string, entry: Entry): void {
    if (this.#young.size >= TOKENS_MAX || this.#youngBytes >= BYTES_MAX) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(ending, entry);
    this.#youngBytes += entry.authorization.length + OVERHEAD_BYTES;
  }
}
