/** The command line of a bench, and its scenarios run one after the other. */
import { spawnSync } from 'node:child_process';
import { loadavg } from 'node:os';
import type { Command } from 'commander';
import { command, onlyOption, wholeNumber } from '../../harness/command/command-line.ts';
import { openCommandSession } from '../../harness/command/command-session.ts';
import { codeVersions, machine, output, serverVersions } from '../../harness/command/machine.ts';
import { resultOf, type ScenarioResult } from '../report/results.ts';
import type { Scenario } from './scenario.ts';
import { openTestbed } from './testbed.ts';

/** Figures from a machine with a higher load average are not repeatable. */
const LOAD_MAX = 0.5;

export interface BenchArguments {
  rounds: number;
  seconds: number;
  only?: string[];
  write?: boolean;
}

export interface Found {
  results: ScenarioResult[];
  /** Why scenarios ended without a result. The others run all the same. */
  failures: string[];
}

export function benchCommand(
  name: string,
  description: string,
  defaults: { scenarios: readonly Scenario[]; rounds: number; seconds: number },
): Command {
  return command(name, description)
    .option('--rounds <count>', 'measurements of each contestant', wholeNumber, defaults.rounds)
    .option('--seconds <count>', 'of load in each measurement', wholeNumber, defaults.seconds)
    .addOption(onlyOption(defaults.scenarios));
}

/** Ends the process with 1 and the reason when nothing can be measured. */
export async function runScenarios(
  scenarios: readonly Scenario[],
  { rounds, seconds, only }: BenchArguments,
): Promise<Found> {
  const session = openCommandSession();
  // Set-up was killed: its IPC channel closes.
  if (process.connected) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  const chosen = scenarios.filter(({ name }) => !only || only.includes(name));
  const running = runAll(chosen, { rounds, seconds, stopping: session.stopping });
  session.after(() => Promise.allSettled([running]));
  try {
    return await running;
  } catch (error) {
    // After a signal the session ends the process, with an exit code of its own.
    if (session.stopping.aborted) return new Promise(() => undefined);
    console.error(error instanceof Error ? error.message : error);
    await session.close();
    return process.exit(1);
  }
}

async function runAll(
  scenarios: readonly Scenario[],
  options: { rounds: number; seconds: number; stopping: AbortSignal },
): Promise<Found> {
  const { seconds, stopping } = options;
  requireTools();
  const load = loadavg()[0]!;
  if (load > LOAD_MAX) console.error(`The load of this machine is already ${load.toFixed(1)}.`);
  const versions = {
    ...codeVersions(),
    ...(await versionsOfServers(stopping)),
    wrk: wrkVersion(),
  };
  const note = `wrk, the processes under test, Redis and PostgreSQL share these cores; load before: ${load.toFixed(2)}`;
  const conditions = { machine: machine(note), versions, secondsEach: seconds };
  const found: Found = { results: [], failures: [] };
  for (const scenario of scenarios) {
    const report = (line: string) => console.error(`${scenario.name}: ${line}`);
    try {
      const measured = await scenario.run({ ...options, report });
      found.results.push(resultOf(scenario, measured, conditions));
    } catch (error) {
      if (stopping.aborted) throw error;
      report(error instanceof Error ? (error.stack ?? error.message) : String(error));
      found.failures.push(`${scenario.name}: ${(error as Error).message}`);
    }
  }
  return found;
}

async function versionsOfServers(stopping: AbortSignal) {
  const testbed = await openTestbed({ stopping });
  try {
    return await serverVersions(testbed);
  } finally {
    await testbed.close();
  }
}

function wrkVersion(): string {
  const said = output('sh', ['-c', 'wrk --version 2>&1 | head -1']);
  return /wrk (?:debian\/)?(\d[\d.]*\d)/.exec(said ?? '')?.[1] ?? 'unknown';
}

/** What a bench needs besides Redis and PostgreSQL. util-linux has the last two. */
const TOOLS = ['wrk', 'taskset', 'setpriv'];

/** Installs wrk when run as root on Debian or Ubuntu; otherwise throws with the command to type. */
function requireTools(): void {
  if (process.platform !== 'linux') {
    throw new Error('The benches need Linux: they read /proc and assign processes to cores.');
  }
  if (!isInstalled('wrk') && process.getuid?.() === 0 && isInstalled('apt-get')) {
    console.error('bench: installing wrk with apt-get');
    const install = 'apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk';
    spawnSync('sh', ['-c', install], {
      stdio: ['ignore', 2, 2],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  }
  const missing = TOOLS.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  throw new Error(
    `${missing.join(', ')} not found. Type:\n  sudo apt-get update && sudo apt-get install -y wrk util-linux`,
  );
}

function isInstalled(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' }).status === 0;
}
