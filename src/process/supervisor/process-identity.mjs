/**
 * Identifies a process by its pid and its start time, because the system reuses pids. Plain JavaScript: the set-up
 * script runs it before any package is installed.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * Differs between any two processes that ever had this pid; undefined when no process has it now.
 *
 * @param {number} pid
 * @returns {string | undefined}
 */
export function processIdentity(pid) {
  if (process.platform === 'linux') return linuxIdentity(pid);
  return run('ps', ['-o', 'lstart=', '-p', String(pid)])?.trim() || undefined;
}

function linuxIdentity(pid) {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field, the name, may contain spaces and parentheses, so fields are counted from its closing one.
  // The first field after it is the state (Z: a zombie), the twentieth the start time in clock ticks.
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
