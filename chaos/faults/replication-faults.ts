/** Injects the faults of Redis servers that replicate. Each resolves to whether it took effect. */
import { setTimeout as sleep } from 'node:timers/promises';
import { slowDown } from '../../harness/servers/slow-disk.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import type { ChaosStack } from '../stack.ts';
import type { TopologyServer } from '../topologies/topology.ts';
import { HOT_PATHS, type PlannedFault, type ProcessName } from './schedule.ts';

/** A sync takes this long. Redis acknowledges nothing meanwhile. */
const SYNC_MS = 150;
/** How long a master may be awaited to sell before it is isolated. */
const SELLS_MS_MAX = 3_000;
/** For the way of a command. The smallest step is twice as long. */
const CLOCK_ERROR_MS = 100;

interface Effect {
  tookEffect: boolean;
  replaced?: boolean;
}

export async function injectReplicationFault(
  fault: PlannedFault,
  stack: ChaosStack,
): Promise<Effect> {
  // During a failover no server may be the master, or the one that was may not respond.
  return inject(fault, stack).catch(() => ({ tookEffect: false }));
}

async function inject(fault: PlannedFault, stack: ChaosStack): Promise<Effect> {
  const { redis } = stack;
  switch (fault.kind) {
    case 'hand-over':
      await redis.handOver();
      return { tookEffect: true };
    case 'demote':
      return { tookEffect: await demote(stack, fault) };
    case 'isolate':
      return isolate(stack, fault);
    case 'move-slot':
      await redis.moveSlot();
      return { tookEffect: true };
    case 'step-clock':
      return { tookEffect: await stepClock(await redis.master(), fault) };
    default:
      return { tookEffect: await slowDisk(await redis.master(), fault) };
  }
}

/** Whether another server is the master now. False also while none is. */
export async function isReplaced(name: ProcessName, { redis }: ChaosStack): Promise<boolean> {
  const master = await redis.master().catch(() => undefined);
  return master !== undefined && master.name !== name;
}

/** Resolves when one of these hot paths sends purchases to this server, to whether it does in time. */
async function purchasesArrive(
  stack: ChaosStack,
  server: TopologyServer,
  { from, withinMs }: { from: readonly (typeof HOT_PATHS)[number][]; withinMs: number },
): Promise<boolean> {
  const arrived = new Promise<true>((resolve) => {
    for (const name of from)
      stack.link(`${name}>redis`, server).onRequestWith(reserve.sha1, () => resolve(true));
  });
  return (await Promise.race([arrived, sleep(withinMs, undefined, { ref: false })])) === true;
}

/**
 * Demotes the master in the middle of a batch. Between the arrival of the purchases at the proxy and the command to the
 * replica, this process handles no other event, so no reply has passed the proxy yet.
 */
async function demote(stack: ChaosStack, { forMs }: PlannedFault): Promise<boolean> {
  const master = await stack.redis.master();
  const takeOver = await stack.redis.prepareTakeover();
  if (!(await purchasesArrive(stack, master, { from: HOT_PATHS, withinMs: forMs }))) return false;
  await takeOver();
  return true;
}

/** Counts if a hot path that the master keeps sends it purchases meanwhile. */
async function isolate(stack: ChaosStack, { forMs, keeps }: PlannedFault): Promise<Effect> {
  const master = await stack.redis.master();
  const from = HOT_PATHS.filter((name) => keeps!.includes(name));
  // After an earlier fault, the hot path may not know the master yet, and would not find it during the isolation.
  await purchasesArrive(stack, master, { from, withinMs: SELLS_MS_MAX });
  stack.isolate(master, new Set(keeps));
  const [tookEffect] = await Promise.all([
    purchasesArrive(stack, master, { from, withinMs: forMs }),
    sleep(forMs),
  ]);
  const replaced = await isReplaced(master.name, stack);
  stack.reunite();
  return { tookEffect, replaced };
}

/** Counts if a sync was delayed. */
async function slowDisk({ pid }: TopologyServer, { forMs }: PlannedFault): Promise<boolean> {
  const slow = await slowDown(pid, SYNC_MS);
  if (!slow) return false;
  await sleep(forMs);
  await slow.end();
  return slow.delayedSyncs > 0;
}

/** Counts if the server's own clock shows the step. */
async function stepClock(
  { setClock, client }: TopologyServer,
  { byMs, forMs }: PlannedFault,
): Promise<boolean> {
  if (!setClock) return false;
  const beforeMs = await aheadMs(client);
  setClock(byMs!);
  try {
    const steppedMs = (await aheadMs(client)) - beforeMs;
    await sleep(forMs);
    return Math.abs(steppedMs - byMs!) <= CLOCK_ERROR_MS;
  } finally {
    setClock(0);
  }
}

/** How far the server's clock is ahead of the machine's. */
async function aheadMs(client: TopologyServer['client']): Promise<number> {
  const sentMs = Date.now();
  const [seconds, microseconds] = await client.time();
  const readMs = (sentMs + Date.now()) / 2;
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000 - readMs;
}
