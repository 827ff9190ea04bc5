/** Freezing a server with all its processes: its connections stay open, and nothing answers. */
import { execFileSync } from 'node:child_process';

export function freeze(pid: number): void {
  signalFamily(pid, 'SIGSTOP');
}

export function thaw(pid: number): void {
  signalFamily(pid, 'SIGCONT');
}

/** PostgreSQL's backends leave their parent's process group, so they are asked for by parent. */
function signalFamily(pid: number, signal: NodeJS.Signals): void {
  process.kill(pid, signal);
  const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' });
  for (const line of table.trim().split('\n')) {
    const [child, parent] = line.trim().split(/\s+/).map(Number);
    if (parent === pid && child !== undefined) signalIfThere(child, signal);
  }
}

/** A backend may have ended since the table was written. */
function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
