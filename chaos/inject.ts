/** Carries out a schedule on a stack, fault by fault at its time, and undoes what lasts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { unreachable } from '../src/domain/fault.ts';
import { applyOperation } from '../src/lua/apply-operation.ts';
import { renewFence } from '../src/lua/renew-fence.ts';
import { reserve } from '../src/lua/reserve.ts';
import { sweep } from '../src/lua/sweep.ts';
import { transition } from '../src/lua/transition.ts';
import { trimEvents } from '../src/lua/trim-events.ts';
import { type Loss, loseMemory } from './losses.ts';
import type { LinkName, PlannedFault, ProcessName, RequestName } from './schedule.ts';
import type { ChaosStack } from './stack.ts';

/** By what a request is known on the wire. */
const TEXT_OF: Record<RequestName, string> = {
  http: 'HTTP/1.1',
  reserve: reserve.sha1,
  transition: transition.sha1,
  sweep: sweep.sha1,
  'apply-operation': applyOperation.sha1,
  'renew-fence': renewFence.sha1,
  'trim-events': trimEvents.sha1,
  acknowledge: 'xack',
  commit: 'commit',
};

/**
 * Resolves when the last fault is over. Faults of one target wait for each other, for a server that is still starting
 * can not be killed properly. Returns what Redis was made to forget, in order.
 */
export async function carryOut(
  schedule: readonly PlannedFault[],
  stack: ChaosStack,
): Promise<Loss[]> {
  const losses: Loss[] = [];
  const beganMs = performance.now();
  const byTarget = Object.groupBy(schedule, ({ target }) => target);
  await Promise.all(
    Object.values(byTarget).map(async (faults) => {
      for (const fault of faults) {
        await sleep(Math.max(0, beganMs + fault.atMs - performance.now()));
        const loss = await inject(fault, stack);
        if (loss) losses.push(loss);
      }
    }),
  );
  return losses.sort((a, b) => a.atMs - b.atMs);
}

/** Begins one fault, waits for as long as it lasts, and ends it. */
async function inject(fault: PlannedFault, stack: ChaosStack): Promise<Loss | undefined> {
  const { kind, forMs } = fault;
  const target = fault.target as ProcessName;
  const link = stack.link(fault.target as LinkName);
  switch (kind) {
    case 'kill':
      await stack.kill(target);
      await sleep(forMs);
      await stack.startAgain(target);
      return undefined;
    case 'restart':
      await stack.restart(target);
      return undefined;
    case 'pause':
      stack.pause(target);
      await sleep(forMs);
      stack.resume(target);
      return undefined;
    case 'cut':
      link.cutAll();
      return undefined;
    case 'refuse':
      link.refuse();
      await sleep(forMs);
      link.heal();
      return undefined;
    case 'half-open':
      link.stall();
      await sleep(forMs);
      link.heal();
      return undefined;
    case 'lose-request':
      link.loseRequestWith(TEXT_OF[fault.request!]);
      return undefined;
    case 'lose-reply':
      link.loseReplyTo(TEXT_OF[fault.request!]);
      return undefined;
    case 'flush':
    case 'lose-disk':
    case 'lose-tail':
      return loseMemory(kind, stack, forMs);
    default:
      return unreachable(kind);
  }
}
