/**
 * A lock that one process at a time can have, as a file that names its holder. The lock of a process that has died
 * is taken over, so nobody ever has to delete a file by hand.
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
import { processIdentity } from '../../process/process-identity.mjs';

/** Clearing away a dead holder's file takes microseconds; a guard this old belongs to someone who died doing it. */
const GUARD_STALE_MS = 5_000;

/** Returns `{ release }` when the lock is now ours, `{ holderPid }` when a living process has it. */
export function tryLock(path) {
  mkdirSync(dirname(path), { recursive: true });
  for (;;) {
    if (createLock(path)) return { release: () => releaseLock(path) };
    const holder = readHolder(path);
    if (holder && processIdentity(holder.pid) === holder.identity) return { holderPid: holder.pid };
    clearStale(path);
  }
}

/** Linking a finished file into place is atomic: nobody can read a lock that does not name its holder yet. */
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

/** Guarded, because of two that both saw a dead holder the slower would delete the lock that the faster has made. */
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
