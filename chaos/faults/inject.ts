/** Injects the faults of a schedule, each at its time, and ends those that last. */
import { setTimeout as sleep } from 'node:timers/promises';
import { unreachable } from '../../src/domain/fault.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { sweep } from '../../src/lua/buy/sweep.ts';
import { transition } from '../../src/lua/buy/transition.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import { renewFence } from '../../src/lua/recover/renew-fence.ts';
import { trimEvents } from '../../src/lua/stream/trim-events.ts';
import type { ChaosStack } from '../stack.ts';
import { runPersisterOnCopy } from './copied-database.ts';
import { type Loss, loseRedisData, withLossOfFailover } from './losses.ts';
import { injectReplicationFault, isReplaced } from './replication-faults.ts';
import {
  type LinkName,
  type PlannedFault,
  type ProcessName,
  type RequestName,
  sequenceOf,
} from './schedule.ts';

/** How a request is recognized on the wire. */
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

/** No topology replaces a master sooner. To ask the others takes up to half a second, which would prolong a short fault. */
const PROMOTION_MS_MIN = 1_000;

export interface StartedFault {
  fault: PlannedFault;
  /** Whether the fault took effect: a process was running, a connection was open, the awaited request came. */
  tookEffect: () => boolean;
  /** Whether another server became the master while the fault isolated, froze or killed the old one. */
  replaced: boolean;
}

/**
 * Resolves when the last fault is over. Faults of one target run one after the other, because a server that is still
 * starting cannot be killed properly. Returns the data losses in order, what a copy consumed, and the
 * faults that were started.
 */
export async function runSchedule(
  schedule: readonly PlannedFault[],
  stack: ChaosStack,
): Promise<{ losses: Loss[]; consumed: string[]; begun: StartedFault[] }> {
  const losses: Loss[] = [];
  const allConsumed: string[] = [];
  const begun: StartedFault[] = [];
  const startedMs = performance.now();
  const sequences = Object.groupBy(schedule, sequenceOf);
  await Promise.all(
    Object.values(sequences).map(async (faults) => {
      for (const fault of faults!) {
        await sleep(Math.max(0, startedMs + fault.atMs - performance.now()));
        const { tookEffect, replaced, loss, consumed } = await withLossOfFailover(
          fault,
          stack,
          () => inject(fault, stack),
        );
        begun.push({
          fault,
          tookEffect: typeof tookEffect === 'function' ? tookEffect : () => tookEffect,
          replaced: replaced ?? false,
        });
        if (loss) losses.push(loss);
        if (consumed) allConsumed.push(consumed);
      }
    }),
  );
  return { losses: losses.sort((a, b) => a.atMs - b.atMs), consumed: allConsumed, begun };
}

interface Injected {
  /** A function if it is known only later. */
  tookEffect: boolean | (() => boolean);
  replaced?: boolean;
  loss?: Loss;
  /** What a persister on a copy took over. */
  consumed?: string | undefined;
}

/** Starts one fault, waits for its duration, and ends it. */
/** After a kill or a freeze of `name`, before it ends. */
async function isMasterReplaced(
  { target, forMs }: PlannedFault,
  name: ProcessName,
  stack: ChaosStack,
): Promise<boolean> {
  return target === 'redis' && forMs >= PROMOTION_MS_MIN && isReplaced(name, stack);
}

async function inject(fault: PlannedFault, stack: ChaosStack): Promise<Injected> {
  const { kind, forMs } = fault;
  const target = await stack.named(fault.target as ProcessName);
  const linkOf = () => stack.link(fault.target as LinkName);
  if (target === undefined) return { tookEffect: false };
  switch (kind) {
    case 'kill': {
      const tookEffect = await stack.kill(target);
      await sleep(forMs);
      const replaced = await isMasterReplaced(fault, target, stack);
      await stack.startAgain(target);
      return { tookEffect, replaced };
    }
    case 'restart':
      return { tookEffect: await stack.restart(target) };
    case 'pause': {
      const tookEffect = stack.pause(target);
      await sleep(forMs);
      const replaced = await isMasterReplaced(fault, target, stack);
      stack.resume(target);
      return { tookEffect, replaced };
    }
    case 'cut':
    case 'refuse':
    case 'half-open': {
      const link = linkOf();
      const harmedBefore = link.harmed;
      if (kind === 'cut') link.cutAll();
      else if (kind === 'refuse') link.refuse();
      else link.stall();
      await sleep(forMs);
      if (kind !== 'cut') link.heal();
      return { tookEffect: link.harmed > harmedBefore };
    }
    case 'lose-request': {
      const trap = linkOf().loseRequestWith(TEXT_OF[fault.request!]);
      return { tookEffect: () => trap.hasCaught };
    }
    case 'lose-reply': {
      const trap = linkOf().loseReplyTo(TEXT_OF[fault.request!]);
      return { tookEffect: () => trap.hasCaught };
    }
    case 'hand-over':
    case 'demote':
    case 'isolate':
    case 'move-slot':
    case 'slow-disk':
    case 'step-clock':
      return injectReplicationFault(fault, stack);
    case 'copy-database': {
      const { hasRun, consumed } = await runPersisterOnCopy(stack, forMs);
      return { tookEffect: hasRun, consumed };
    }
    case 'flush':
    case 'lose-disk':
    case 'lose-tail':
      return { tookEffect: true, loss: await loseRedisData(kind, stack, forMs) };
    default:
      return unreachable(kind);
  }
}
