/**
 * The message by which a hot path announces the winners of its batches to all others, so that they know the holders of a
 * sale before its sell-out:
 *
 *   version SPACE sender SPACE timeline LF runs
 *
 * A run is the winners of a batch, who follow each other in the sale's order: the ordinal of the first, from 0, their
 * number, and the fingerprint of each, as 32-bit integers with the lowest byte first. All processes must compute the
 * same fingerprint of a buyer, so another hash needs another version.
 */

const VERSION = '1';
const BYTES_EACH = 4;
const LF = 10;
/** Longer than any head. */
const HEAD_BYTES_MAX = 64;

/** A longer order is read instead. */
export const ORDINAL_MAX = 2 ** 31 - 1;

export interface WinnerRun {
  ordinal: number;
  fingerprints: Int32Array;
}

export interface WinnerAnnouncement {
  /** The hot path, which gets its own message too. */
  sender: string;
  timeline: number;
  runs: WinnerRun[];
}

/** A 32-bit hash of a buyer's id, as a signed integer; never 0. */
export function fingerprintOf(buyerId: string): number {
  let hash = 0x811c9dc5;
  const { length } = buyerId;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ buyerId.charCodeAt(i), 0x01000193);
  // FNV-1a leaves its high bits almost alone; this makes every bit of the result depend on every bit of the id.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) | 0 || 1;
}

export function formatAnnouncement({ sender, timeline, runs }: WinnerAnnouncement): Buffer {
  const count = runs.reduce((sum, { fingerprints }) => sum + 2 + fingerprints.length, 0);
  const head = `${VERSION} ${sender} ${timeline}\n`;
  const bytes = Buffer.allocUnsafe(head.length + count * BYTES_EACH);
  let at = bytes.write(head, 'latin1');
  for (const { ordinal, fingerprints } of runs) {
    at = bytes.writeInt32LE(ordinal, at);
    at = bytes.writeInt32LE(fingerprints.length, at);
    for (const fingerprint of fingerprints) at = bytes.writeInt32LE(fingerprint, at);
  }
  return bytes;
}

/** Undefined: the message is of another version, and announces nobody; or its sender is the one to ignore. */
export function parseAnnouncement(
  message: Buffer,
  ignored: string,
): WinnerAnnouncement | undefined {
  const headEnd = message.subarray(0, HEAD_BYTES_MAX).indexOf(LF);
  const head = /^(\w+) (\w+) (\d+)$/.exec(message.toString('latin1', 0, headEnd));
  if (head?.[1] !== VERSION || head[2] === ignored) return undefined;
  const runs: WinnerRun[] = [];
  for (let at = headEnd + 1; at < message.length; ) {
    if (message.length - at < 2 * BYTES_EACH) return undefined;
    const ordinal = message.readInt32LE(at);
    const count = message.readInt32LE(at + BYTES_EACH);
    at += 2 * BYTES_EACH;
    if (ordinal < 0 || count < 0 || count > (message.length - at) / BYTES_EACH) return undefined;
    const fingerprints = new Int32Array(count);
    for (let i = 0; i < count; i++, at += BYTES_EACH) fingerprints[i] = message.readInt32LE(at);
    runs.push({ ordinal, fingerprints });
  }
  return { sender: head[2]!, timeline: Number(head[3]), runs };
}
