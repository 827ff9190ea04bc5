/**
 * A name with its hashes, which the rate limiter uses. A buyer's are computed once per token, together with the
 * fingerprint that the membership filter uses.
 */
import { randomInt } from 'node:crypto';
import { fingerprintOf } from '../../domain/winner-announcement.ts';

export interface HashedName {
  readonly name: string;
  /** Two independent 32-bit hashes, as signed integers; never 0. */
  readonly first: number;
  readonly second: number;
}

export interface HashedBuyer extends HashedName {
  /** The same in all processes. */
  readonly fingerprint: number;
}

/** Random per process, so that no client can choose a name that collides with another one. */
const FIRST_SEED = randomInt(2 ** 32);
const SECOND_SEED = randomInt(2 ** 32);

/** FNV-1a, and a variant with another prime. */
export function hashName(name: string): HashedName {
  let first = FIRST_SEED;
  let second = SECOND_SEED;
  const { length } = name;
  for (let i = 0; i < length; i++) {
    const code = name.charCodeAt(i);
    first = Math.imul(first ^ code, 0x01000193);
    second = Math.imul(second ^ code, 0x5bd1e995);
    second ^= second >>> 15;
  }
  return { name, first: mixed(first), second: mixed(second) };
}

export function hashBuyer(buyerId: string): HashedBuyer {
  const { name, first, second } = hashName(buyerId);
  return { name, first, second, fingerprint: fingerprintOf(buyerId) };
}

/** Makes every bit of the result depend on every bit of the input. */
function mixed(hash: number): number {
  const once = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (once ^ (once >>> 13)) | 0 || 1;
}
