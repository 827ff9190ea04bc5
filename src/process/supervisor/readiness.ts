/** Waits for a bounded time until processes are ready. A failure names the process and its log. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../domain/fault.ts';
import type { SupervisedProcess } from './supervised-process.ts';

export interface AwaitedProcess {
  process: SupervisedProcess;
  /** Checks once; false or an error means not yet. */
  isReady: () => Promise<boolean>;
}

const READY_DEADLINE_MS = 60_000;
const POLL_INTERVAL_MS = 50;
/** One exit can be a coincidence, such as a port that was taken at that moment. Three in a row are a defect. */
const CONSECUTIVE_EXITS_MAX = 3;

/** @throws Fault server_unfit that names the processes that are not ready, or the reason of `stopping` */
export async function waitUntilReady(
  awaited: readonly AwaitedProcess[],
  stopping: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  let pending = awaited;
  for (;;) {
    const results = await Promise.all(pending.map(({ isReady }) => isReady().catch(() => false)));
    pending = pending.filter((_, index) => !results[index]);
    stopping.throwIfAborted();
    if (pending.length === 0) return;
    const failing = pending.filter(
      ({ process }) => process.consecutiveExits >= CONSECUTIVE_EXITS_MAX,
    );
    if (failing.length > 0) throw notReady(failing, 'does not stay up');
    if (Date.now() > deadline)
      throw notReady(pending, `is not ready after ${READY_DEADLINE_MS / 1000} s`);
    await sleep(POLL_INTERVAL_MS);
  }
}

function notReady(awaited: readonly AwaitedProcess[], what: string): Fault {
  const explanations = awaited.map(({ process: { plan, log } }) => {
    const lines = log?.lastLines.map((line) => `  ${line}`).join('\n') ?? '';
    return `${plan.name} ${what}. Its log, ${log?.path}, ends:\n${lines}`;
  });
  return new Fault('server_unfit', explanations.join('\n\n'));
}
