/** Chance that follows from an id: whoever asks again, also after a restart, finds the same world. */
import { createHash } from 'node:crypto';

/** From 0 to just below 1, each purpose another. */
export function chanceOf(id: string, purpose: string): number {
  const digest = createHash('sha256').update(`${purpose}:${id}`).digest();
  return digest.readUInt32BE(0) / 2 ** 32;
}
