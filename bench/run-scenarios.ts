/** Runs scenarios one after the other, until all are done or somebody wants it to stop. */
import { loadavg } from 'node:os';
import { codeVersions, machine, output, serverVersions } from '../harness/command/machine.ts';
import { resultOf, type ScenarioResult } from './results.ts';
import type { Scenario } from './scenario.ts';
import { openStage } from './testbed.ts';
import { demandTools } from './tools.ts';

/** A machine that is at work already gives figures that nobody can repeat. */
const LOAD_MAX = 0.5;

export interface Found {
  results: ScenarioResult[];
  /** Why scenarios ended without a result; the others were run all the same. */
  failures: string[];
}

/** Ends the process where nothing can be measured: 130 when interrupted, 1 with what to do. */
export async function runScenarios(
  scenarios: readonly Scenario[],
  options: { rounds: number; seconds: number; only?: readonly string[] },
): Promise<Found> {
  const { rounds, seconds, only } = options;
  const stopping = stopOnSignal();
  try {
    const chosen = scenarios.filter(({ name }) => !only || only.includes(name));
    demandTools();
    const load = loadavg()[0]!;
    if (load > LOAD_MAX) console.error(`The load of this machine is ${load.toFixed(1)} already.`);
    const versions = {
      ...codeVersions(),
      ...(await versionsOfServers(stopping)),
      wrk: wrkVersion(),
    };
    const found: Found = { results: [], failures: [] };
    const note = `wrk, the processes under test, Redis and PostgreSQL share these cores; load before: ${load.toFixed(2)}`;
    const conditions = { machine: machine(note), versions, secondsEach: seconds };
    for (const scenario of chosen) {
      const tell = (line: string) => console.error(`${scenario.name}: ${line}`);
      try {
        const measured = await scenario.run({ rounds, seconds, stopping, tell });
        found.results.push(resultOf(scenario, measured, conditions));
      } catch (error) {
        if (stopping.aborted) throw error;
        tell(error instanceof Error ? (error.stack ?? error.message) : String(error));
        found.failures.push(`${scenario.name}: ${(error as Error).message}`);
      }
    }
    return found;
  } catch (error) {
    return giveUp(error, stopping);
  }
}

function giveUp(error: unknown, stopping: AbortSignal): never {
  if (stopping.aborted) process.exit(130);
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

/** Asked once everything is stopped in order, asked twice the process ends; both ways nothing is left running. */
function stopOnSignal(): AbortSignal {
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) process.exit(130);
      stopping.abort();
    });
  }
  // The channel to set-up closes when that is killed.
  if (process.connected) process.once('disconnect', () => stopping.abort());
  return stopping.signal;
}

async function versionsOfServers(stopping: AbortSignal) {
  const stage = await openStage({ stopping });
  try {
    return await serverVersions(stage);
  } finally {
    await stage.close();
  }
}

function wrkVersion(): string {
  const said = output('sh', ['-c', 'wrk --version 2>&1 | head -1']);
  return /wrk (?:debian\/)?(\d[\d.]*\d)/.exec(said ?? '')?.[1] ?? 'unknown';
}
