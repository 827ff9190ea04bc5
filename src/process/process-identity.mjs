/**
 * Which process a pid means. Pids are used again, so a pid in a file says little by itself; together with the moment
 * that the process started it says exactly one process. Plain JavaScript because set-up runs before anything exists.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Differs between any two processes that ever had this pid; undefined when no process has it now. */
export function processIdentity(pid) {
  if (process.platform === 'linux') return linuxIdentity(pid);
  return run('ps', ['-o', 'lstart=', '-p', String(pid)])?.trim() || undefined;
}

function linuxIdentity(pid) {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field, the name in parentheses, may itself hold spaces and parentheses: count from its end. Of the
  // fields after it the first is the state (Z: dead, only not yet collected), the twentieth the start in clock ticks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
  return `${boot}/${fields[19]}`;
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function run(command, args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return undefined;
  }
}
