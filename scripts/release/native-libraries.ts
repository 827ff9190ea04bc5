/**
 * The native libraries of uWebSockets.js. npm's lock file already has a checksum of the package. The list here outlives a
 * change of the package, and its entries can be compared with what upstream committed (docs/NODE.md).
 */
import { createHash } from 'node:crypto';

/** By file name, as `sha256sum` writes it. */
export type RecordedLibraries = ReadonlyMap<string, string>;

/** Reads a list in the format of `sha256sum`; lines that begin with `#` are comments. */
export function parseLibraries(list: string): RecordedLibraries {
  return new Map(
    [...list.matchAll(/^([0-9a-f]{64}) {2}(\S+)$/gm)].map(([, hash, name]) => [name!, hash!]),
  );
}

/** The file that uWebSockets.js loads. `abi` is `process.versions.modules`. */
export function libraryName({ platform, arch, abi }: Record<string, string>): string {
  return `uws_${platform}_${arch}_${abi}.node`;
}

/** Undefined: it is the recorded library. */
export function mistakeOf(
  name: string,
  content: Buffer,
  recorded: RecordedLibraries,
): string | undefined {
  const expected = recorded.get(name);
  if (expected === undefined) return `${name} is not recorded`;
  const actual = createHash('sha256').update(content).digest('hex');
  return actual === expected ? undefined : `${name} has the checksum ${actual}, not ${expected}`;
}

/** The id that Git gives a file with this content. A tree of upstream's repository has it without the file itself. */
export function gitBlobId(content: Buffer): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}
