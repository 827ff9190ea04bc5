export type LockAttempt =
  | { release: () => void; holderPid?: never }
  | { release?: never; holderPid: number };

/** Takes the lock at `path`, or says which living process has it. The directory is created when it is missing. */
export function tryLock(path: string): LockAttempt;
