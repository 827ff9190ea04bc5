/**
 * A lock that one process at a time can hold: a file that names its holder. A process takes over the lock of
 * an ended one, so no file ever has to be deleted by hand.
 */
import {
  linkSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { processIdentity } from '../../process/supervisor/process-identity.mjs';

/** Removing an ended holder's file takes microseconds. The process that made an older guard crashed in between. */
const GUARD_STALE_MS = 5_000;

/**
 * Takes the lock, or returns the pid of the running process that holds it. Creates the directory of `path`.
 *
 * @param {string} path
 * @returns {{ release: () => void, holderPid?: undefined } | { release?: undefined, holderPid: number }}
 */
export function tryLock(path) {
  mkdirSync(dirname(path), { recursive: true });
  for (;;) {
    if (createLock(path)) return { release: () => releaseLock(path) };
    const holder = readHolder(path);
    if (holder && processIdentity(holder.pid) === holder.identity) return { holderPid: holder.pid };
    clearStale(path);
  }
}

/** Links a finished file into place, which is atomic: a reader never sees a lock without its holder. */
function createLock(path) {
  const draft = `${path}.${process.pid}`;
  const holder = { pid: process.pid, identity: processIdentity(process.pid) };
  writeFileSync(draft, JSON.stringify(holder));
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Guarded by a directory. Otherwise, when two processes find the same ended holder, the slower one could delete the
 * lock that the faster one has just created.
 */
function clearStale(path) {
  const guard = `${path}.clearing`;
  try {
    mkdirSync(guard);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    if (ageMs(guard) > GUARD_STALE_MS) removeDirectory(guard);
    return;
  }
  try {
    const holder = readHolder(path);
    if (!holder || processIdentity(holder.pid) !== holder.identity) rmSync(path, { force: true });
  } finally {
    removeDirectory(guard);
  }
}

function releaseLock(path) {
  if (readHolder(path)?.pid === process.pid) rmSync(path, { force: true });
}

function readHolder(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function ageMs(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function removeDirectory(path) {
  try {
    rmdirSync(path);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}
