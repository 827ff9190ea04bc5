/**
 * A name and what it hashes to. A buyer's is worked out once for each token, and serves whoever keeps account of many:
 * the rate limit, and the set of those who have something.
 */
import { randomInt } from 'node:crypto';

export interface HashedName {
  readonly name: string;
  /** Two independent hashes of 32 bits, as signed integers; never 0. */
  readonly first: number;
  readonly second: number;
}

/** Drawn for each process, so that nobody can choose a name that hashes like somebody else's. */
const FIRST_SEED = randomInt(2 ** 32);
const SECOND_SEED = randomInt(2 ** 32);

/** FNV-1a, and its like with another prime. */
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

/** So that every bit of the input tells in every bit. */
function mixed(hash: number): number {
  const once = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (once ^ (once >>> 13)) | 0 || 1;
}
