/**
 * A server process whose clock is set forward and back by libfaketime, while its monotonic clock stays right. It does not
 * work with jemalloc, which Debian's Redis uses.
 */
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SteppedClock {
  /** For the environment of the process. */
  env: Record<string, string>;
  /** Sets its clock to so many milliseconds ahead of the machine's. */
  set: (offsetMs: number) => void;
}

/** Undefined where libfaketime is not installed. */
export function steppedClock(): SteppedClock | undefined {
  const library = findLibrary();
  if (library === undefined) return undefined;
  const file = join(mkdtempSync(join(tmpdir(), 'flash-sale-clock-')), 'offset');
  const set = (offsetMs: number) => {
    const sign = offsetMs < 0 ? '-' : '+';
    writeFileSync(file, `${sign}${Math.abs(offsetMs) / 1_000}\n`);
  };
  set(0);
  return {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
    set,
  };
}

function findLibrary(): string | undefined {
  if (!existsSync('/usr/lib')) return undefined;
  return readdirSync('/usr/lib')
    .map((folder) => join('/usr/lib', folder, 'faketime/libfaketime.so.1'))
    .find((path) => existsSync(path));
}
