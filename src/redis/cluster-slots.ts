/** The masters of a cluster and their slots, from the node with the newest view. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';

/** Time limit for a node's reply: it may be frozen, and the other nodes have the same information. */
const REPLY_MS_MAX = 500;

/**
 * Queries all nodes and uses the view with the latest epoch: an isolated node still returns the old masters. Undefined if
 * no node replies.
 */
export async function slotOwners(nodes: readonly Redis[]): Promise<View['owners'] | undefined> {
  const views = await Promise.all(
    nodes.map((node) =>
      Promise.race([
        viewOf(node).catch(() => undefined),
        sleep(REPLY_MS_MAX, undefined, { ref: false }),
      ]),
    ),
  );
  return views.filter((view) => view !== undefined).toSorted(newestFirst)[0]?.owners;
}

type View = Awaited<ReturnType<typeof viewOf>>;

async function viewOf(node: Redis) {
  const [info, slots] = await Promise.all([node.cluster('INFO'), node.cluster('SLOTS')]);
  return {
    isOk: /^cluster_state:ok/m.test(info),
    epoch: Number(/^cluster_current_epoch:(\d+)/m.exec(info)?.[1] ?? 0),
    owners: slots.flatMap(([first, last, master]) => {
      if (!master) return [];
      // Without a host, it is the node that replied.
      return [{ first, last, host: master[0] || node.options.host!, port: master[1] }];
    }),
  };
}

function newestFirst(a: View, b: View): number {
  return Number(b.isOk) - Number(a.isOk) || b.epoch - a.epoch;
}

/** A master, its slots as one node knows them, and whether it is that node. */
export interface ClusterMaster {
  host: string;
  port: number;
  isSelf: boolean;
  ranges: { first: number; last: number }[];
}

export async function clusterMasters(node: Redis): Promise<ClusterMaster[]> {
  const [selfId, slots] = await Promise.all([node.cluster('MYID'), node.cluster('SLOTS')]);
  const masters = new Map<string, ClusterMaster>();
  for (const [first, last, owner] of slots) {
    const [host, port, id] = owner as unknown as [string, number, string];
    const known = masters.get(id) ?? {
      host: host || node.options.host!,
      port,
      isSelf: id === selfId,
      ranges: [],
    };
    masters.set(id, known);
    known.ranges.push({ first, last });
  }
  return [...masters.values()];
}
