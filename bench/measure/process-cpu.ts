/** CPU time of a process since its start, from /proc. */
import { readFileSync } from 'node:fs';

/** `USER_HZ` of Linux. */
const TICKS_PER_SECOND = 100;

/** Seconds. */
export interface Cpu {
  user: number;
  system: number;
}

/** `withEnded`: with the time of children that have ended, as PostgreSQL's come and go. */
export function cpuOf(pid: number, { withEnded = false } = {}): Cpu {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name of the process may contain anything, so fields are counted after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const seconds = (index: number) => Number(fields[index]) / TICKS_PER_SECOND;
  const [user, system] = [seconds(11), seconds(12)];
  if (!withEnded) return { user, system };
  return { user: user + seconds(13), system: system + seconds(14) };
}

export function cpuSecondsOf(pid: number): number {
  const { user, system } = cpuOf(pid);
  return user + system;
}
