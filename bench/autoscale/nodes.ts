/** Nodes that exist only as objects, with leases that are renewed: the scheduler and the controllers treat them as real. */
import {
  CoordinationV1Api,
  CoreV1Api,
  type KubeConfig,
  V1MicroTime,
} from '@kubernetes/client-node';
import { type Scope, use } from '../../harness/use.ts';

const LEASES = 'kube-node-lease';
/** As a kubelet. */
const RENEW_MS = 10_000;
const LEASE_SECONDS = 40;
/** More than all pods request. */
const CAPACITY = { cpu: '16', memory: '64Gi', pods: '110' };

/** Each in a zone of its own. Resolves when they are registered. */
export async function useNodes(
  scope: Scope,
  config: KubeConfig,
  names: readonly string[],
): Promise<void> {
  const core = config.makeApiClient(CoreV1Api);
  const leases = config.makeApiClient(CoordinationV1Api);
  for (const name of names) {
    await core.createNode({
      body: {
        metadata: {
          name,
          labels: { 'kubernetes.io/hostname': name, 'topology.kubernetes.io/zone': `zone-${name}` },
        },
        status: statusOf(),
      },
    });
    await leases.createNamespacedLease({ namespace: LEASES, body: leaseOf(name) });
  }
  const renew = async () => {
    await Promise.all(
      names.map(async (name) => {
        const where = { name, namespace: LEASES };
        const { metadata } = await leases.readNamespacedLease(where);
        const body = { ...leaseOf(name), metadata: metadata! };
        await leases.replaceNamespacedLease({ ...where, body });
      }),
    );
  };
  await use(
    scope,
    () => setInterval(() => void renew().catch(console.error), RENEW_MS),
    clearInterval,
  );
}

function leaseOf(name: string) {
  return {
    metadata: { name },
    spec: {
      holderIdentity: name,
      leaseDurationSeconds: LEASE_SECONDS,
      renewTime: new V1MicroTime(),
    },
  };
}

function statusOf() {
  const now = new Date();
  return {
    capacity: CAPACITY,
    allocatable: CAPACITY,
    conditions: [
      { type: 'Ready', status: 'True', reason: 'KubeletReady', lastTransitionTime: now },
    ],
    addresses: [{ type: 'InternalIP', address: '10.77.255.1' }],
  };
}
