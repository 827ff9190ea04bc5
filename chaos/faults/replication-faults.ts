/** Injects the faults of Redis servers that replicate. Each resolves to whether it took effect. */
import { setTimeout as sleep } from 'node:timers/promises';
import { slowDown } from '../../harness/servers/slow-disk.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import type { ChaosStack } from '../stack.ts';
import type { TopologyServer } from '../topologies/topology.ts';
import type { PlannedFault } from './schedule.ts';

const HOT_PATH_LINKS = ['hot-path-1>redis', 'hot-path-2>redis'] as const;
/** A sync takes this long. Redis acknowledges nothing meanwhile. */
const SYNC_MS = 150;

export async function injectReplicationFault(
  fault: PlannedFault,
  stack: ChaosStack,
): Promise<boolean> {
  // During a failover no server may be the master, or the one that was may not respond.
  return inject(fault, stack).catch(() => false);
}

async function inject(
  { kind, forMs, keeps, byMs }: PlannedFault,
  stack: ChaosStack,
): Promise<boolean> {
  const { redis } = stack;
  switch (kind) {
    case 'hand-over':
      await redis.handOver(false);
      return true;
    case 'demote':
      if (!(await nextBatch(stack, forMs))) return false;
      await redis.handOver(true);
      return true;
    case 'isolate':
      await isolate(stack, await redis.master(), { forMs, keeps: new Set(keeps) });
      return true;
    case 'move-slot':
      await redis.moveSlot();
      return true;
    case 'step-clock':
      return stepClock(await redis.master(), { byMs: byMs!, forMs });
    default:
      return slowDisk(await redis.master(), forMs);
  }
}

/** Resolves when purchases reach Redis, to whether they did. */
async function nextBatch(stack: ChaosStack, withinMs: number): Promise<boolean> {
  const arrived = new Promise<true>((resolve) => {
    for (const name of HOT_PATH_LINKS)
      stack.link(name).onRequestWith(reserve.sha1, () => resolve(true));
  });
  return (await Promise.race([arrived, sleep(withinMs, undefined, { ref: false })])) === true;
}

async function isolate(
  stack: ChaosStack,
  master: TopologyServer,
  { forMs, keeps }: { forMs: number; keeps: Parameters<ChaosStack['isolate']>[1] },
): Promise<void> {
  stack.isolate(master, keeps);
  await sleep(forMs);
  stack.reunite();
}

async function slowDisk(server: TopologyServer, forMs: number): Promise<boolean> {
  const slow = await slowDown(server.pid, SYNC_MS);
  if (!slow) return false;
  await sleep(forMs);
  await slow.end();
  return true;
}

async function stepClock(
  { setClock }: TopologyServer,
  { byMs, forMs }: { byMs: number; forMs: number },
): Promise<boolean> {
  if (!setClock) return false;
  setClock(byMs);
  await sleep(forMs);
  setClock(0);
  return true;
}
