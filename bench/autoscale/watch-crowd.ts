/** A crowd with what the autoscaler does meanwhile, second by second. */
import type { Autoscaler, AutoscalerReading } from './autoscaler.ts';
import type { Cluster } from './cluster.ts';
import { type CrowdSecond, rateAt, type Shape, sendCrowd } from './crowd.ts';

const CONNECTIONS = 400;
const GIVE_UP_MS = 5_000;

/** One second. Without the reservations' ids, which only the check needs. */
export interface Second
  extends Omit<CrowdSecond, 'reservations' | 'failed'>,
    Partial<AutoscalerReading> {
  /** Undefined: nothing failed. */
  failed: CrowdSecond['failed'] | undefined;
  second: number;
  /** Buyers per second who are meant to come. */
  demand: number;
  readyPods: number;
}

export interface WatchedCrowd {
  seconds: Second[];
  reservations: string[];
}

export async function watchCrowd(
  cluster: Cluster,
  { name, saleId, shape }: { name: string; saleId: string; shape: Shape },
  /** Undefined: there is none. */
  autoscaler?: Autoscaler,
): Promise<WatchedCrowd> {
  const seconds: Second[] = [];
  const reservations: string[] = [];
  let reading: AutoscalerReading | undefined;
  const look = async () => {
    reading = await autoscaler?.read();
  };
  const looking = setInterval(() => void look().catch(() => undefined), 1_000);
  const choices = { port: cluster.port, saleId, prefix: name, shape };
  try {
    await sendCrowd(
      { ...choices, connections: CONNECTIONS, giveUpMs: GIVE_UP_MS },
      ({ reservations: ids, failed: all, ...rest }) => {
        for (const id of ids) reservations.push(id);
        const second = seconds.length;
        const { readyPods } = cluster.agent;
        const demand = Math.round(rateAt(shape, second));
        const failed = Object.keys(all).length > 0 ? all : undefined;
        seconds.push({ second, demand, readyPods, ...reading, failed, ...rest });
        if (second % 5 === 0) print(seconds.at(-1)!);
      },
    );
  } finally {
    clearInterval(looking);
  }
  return { seconds, reservations };
}

function print(each: Second): void {
  const { second, came, readyPods, desiredPods, cpuPercent, reserved } = each;
  const pods = `${readyPods} of ${desiredPods ?? '?'} pods ready, CPU ${cpuPercent ?? '?'} %`;
  const served = `${came} came, ${reserved} reserved`;
  const bad = `${each.refused} refused, ${each.gaveUp} gave up, p99 ${each.p99Ms} ms`;
  console.log(`${String(second).padStart(4)} s: ${pods}; ${served}, ${bad}`);
  if (each.failed) console.log('      ', each.failed);
}
