/** Where the masters of a cluster keep their identities, see identity.ts. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { clusterMasters } from './cluster-slots.ts';
import { type IdentityPlace, identityKey, readIdentity, type StoredIdentity } from './identity.ts';

/** How long to wait for a master whose identity is needed; it may be unavailable. */
const OTHER_MASTER_MS_MAX = 2_000;
const POLL_MS = 20;

/** Undefined: the server owns no slots. */
export async function placeOf(
  client: Redis,
  isCluster: boolean,
): Promise<IdentityPlace | undefined> {
  const masters = isCluster ? await clusterMasters(client) : undefined;
  const key = identityKey(masters && (masters.find(({ isSelf }) => isSelf)?.ranges ?? []));
  return key === undefined ? undefined : { client, key };
}

/** The identities of the other masters, without those that have none or cannot be reached. */
export async function otherIdentities(
  client: Redis,
  clientAt: (address: { host: string; port: number }) => Redis,
): Promise<StoredIdentity[]> {
  const others = (await clusterMasters(client)).filter(({ isSelf }) => !isSelf);
  const found = await Promise.all(
    others.map(async ({ host, port, ranges }) => {
      const other = clientAt({ host, port });
      const deadlineMs = performance.now() + OTHER_MASTER_MS_MAX;
      while (other.status !== 'ready' && performance.now() < deadlineMs) await sleep(POLL_MS);
      return readIdentity({ client: other, key: identityKey(ranges)! }).catch(() => undefined);
    }),
  );
  return found.filter((identity) => identity !== undefined);
}
