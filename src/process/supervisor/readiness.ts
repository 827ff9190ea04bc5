/**
 * Waits until processes are of use, for a bounded time, and says clearly which one is not and where to read why.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../domain/fault.ts';
import type { SupervisedProcess } from './supervised-process.ts';

export interface AwaitedProcess {
  process: SupervisedProcess;
  /** Asks once; false or an error means not yet. */
  isReady: () => Promise<boolean>;
}

const READY_DEADLINE_MS = 60_000;
const POLL_INTERVAL_MS = 50;
/** One death may be bad luck, such as a port taken at that very moment. The third in a row is a reason. */
const DEATHS_MAX = 3;

/** @throws Fault server_unfit naming who is not ready; the signal's reason when asked to stop meanwhile. */
export async function waitUntilReady(
  awaited: readonly AwaitedProcess[],
  stopping: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  let pending = awaited;
  for (;;) {
    const answers = await Promise.all(pending.map(({ isReady }) => isReady().catch(() => false)));
    pending = pending.filter((_, index) => !answers[index]);
    stopping.throwIfAborted();
    if (pending.length === 0) return;
    const dying = pending.filter(({ process }) => process.consecutiveExits >= DEATHS_MAX);
    if (dying.length > 0) throw notReady(dying, 'does not stay up');
    if (Date.now() > deadline)
      throw notReady(pending, `is not ready after ${READY_DEADLINE_MS / 1000} s`);
    await sleep(POLL_INTERVAL_MS);
  }
}

function notReady(awaited: readonly AwaitedProcess[], what: string): Fault {
  const accounts = awaited.map(({ process: { plan, log } }) => {
    const lines = log?.lastLines.map((line) => `  ${line}`).join('\n') ?? '';
    return `${plan.name} ${what}. Its log, ${log?.path}, ends:\n${lines}`;
  });
  return new Fault('server_unfit', accounts.join('\n\n'));
}
