/** Which master owns which slots of a cluster, as the best informed of its nodes sees it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';

export interface SlotOwner {
  first: number;
  last: number;
  host: string;
  port: number;
}

interface Opinion {
  isOk: boolean;
  epoch: number;
  owners: SlotOwner[];
}

/** A node that is silent for so long is not waited for: it may be frozen, and the others know. */
const ANSWER_MS_MAX = 500;

/**
 * Asks all: a node that is cut off from the others goes on naming the masters that it knew. Those who have elected
 * another one meanwhile count a later epoch. Undefined when nobody answers.
 */
export async function slotOwners(nodes: readonly Redis[]): Promise<SlotOwner[] | undefined> {
  const opinions = await Promise.all(
    nodes.map((node) =>
      Promise.race([
        opinionOf(node).catch(() => undefined),
        sleep(ANSWER_MS_MAX, undefined, { ref: false }),
      ]),
    ),
  );
  return opinions.filter((opinion) => opinion !== undefined).toSorted(betterFirst)[0]?.owners;
}

async function opinionOf(node: Redis): Promise<Opinion> {
  const [info, slots] = await Promise.all([node.cluster('INFO'), node.cluster('SLOTS')]);
  return {
    isOk: /^cluster_state:ok/m.test(info),
    epoch: Number(/^cluster_current_epoch:(\d+)/m.exec(info)?.[1] ?? 0),
    owners: slots.flatMap(([first, last, master]) => {
      if (!master) return [];
      // Without a host, it is the one that was asked.
      return [{ first, last, host: master[0] || node.options.host!, port: master[1] }];
    }),
  };
}

function betterFirst(a: Opinion, b: Opinion): number {
  return Number(b.isOk) - Number(a.isOk) || b.epoch - a.epoch;
}
