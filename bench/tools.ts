/** What a bench needs beside what set-up brings: wrk, and two of Linux' own tools. */
import { spawnSync } from 'node:child_process';

/** util-linux, which every Linux has, brings the last two. */
const TOOLS = ['wrk', 'taskset', 'setpriv'];

/** Installs wrk as root; throws with what to type where that is not for us to do. */
export function demandTools(): void {
  if (process.platform !== 'linux') {
    throw new Error('The benches read /proc and place processes on cores: they need Linux.');
  }
  if (!isThere('wrk') && process.getuid?.() === 0 && isThere('apt-get')) {
    console.error('bench: installing wrk with apt-get');
    const install = 'apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk';
    spawnSync('sh', ['-c', install], {
      stdio: ['ignore', 2, 2],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  }
  const missing = TOOLS.filter((name) => !isThere(name));
  if (missing.length === 0) return;
  throw new Error(
    `${missing.join(', ')} not found. Type:\n  sudo apt-get update && sudo apt-get install -y wrk util-linux`,
  );
}

function isThere(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' }).status === 0;
}
