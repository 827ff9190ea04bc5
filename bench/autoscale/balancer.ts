/** HAProxy with the configuration of `deploy/`, whose servers follow the ready endpoints of a Service. */
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiscoveryV1Api, type KubeConfig, type V1EndpointSlice } from '@kubernetes/client-node';
import { followObjects } from '../../harness/kubernetes/follow-objects.ts';
import { useReverseProxy } from '../../harness/servers/reverse-proxies.ts';
import type { Scope } from '../../harness/use.ts';

const SLOTS = 32;
const NOBODY = 1;

/** Returns the port of the buyers' API. */
export async function useBalancer(
  scope: Scope,
  config: KubeConfig,
  { namespace, service }: { namespace: string; service: string },
): Promise<number> {
  const socket = join(tmpdir(), 'haproxy.sock');
  const proxy = await useReverseProxy(
    scope,
    'haproxy',
    { hotPaths: Array(SLOTS).fill(NOBODY), admin: NOBODY },
    // Kubernetes probes the pods, and no server is known at the start.
    {
      edit: (shipped) =>
        shipped
          .replace(/^global$/m, `global\n    stats socket ${socket} level admin`)
          .replaceAll(/^.*(?:-unready|option allbackups).*\n/gm, '')
          .replaceAll(/ check inter \S+ fall \S+ rise \S+/g, ' disabled'),
    },
  );
  const slots = Array<string | undefined>(SLOTS).fill(undefined);
  let commands: Promise<unknown> = Promise.resolve();
  const server = (slot: number) => `set server hot_path/hot-path-${slot + 1}`;
  const send = (...lines: string[]) => {
    // In order.
    commands = commands.then(() => tellAll(socket, lines)).catch(console.error);
  };
  const follow = (addresses: readonly string[]) => {
    for (const [slot, address] of slots.entries()) {
      if (address === undefined || addresses.includes(address)) continue;
      slots[slot] = undefined;
      send(`${server(slot)} state maint`);
    }
    for (const address of addresses) {
      if (slots.includes(address)) continue;
      const slot = slots.indexOf(undefined);
      if (slot < 0) throw new Error(`more than ${SLOTS} pods`);
      slots[slot] = address;
      send(`${server(slot)} addr ${address} port 8080`, `${server(slot)} state ready`);
    }
  };
  const api = config.makeApiClient(DiscoveryV1Api);
  const labelSelector = `kubernetes.io/service-name=${service}`;
  await followObjects<V1EndpointSlice>(scope, {
    config,
    path: `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
    list: () => api.listNamespacedEndpointSlice({ namespace, labelSelector }),
    labelSelector,
    onChange: (_, all) => follow(all.flatMap(readyAddresses)),
  });
  return proxy.port;
}

async function tellAll(socket: string, commands: readonly string[]): Promise<void> {
  for (const command of commands) await tell(socket, command);
}

function readyAddresses({ endpoints }: V1EndpointSlice): string[] {
  return (endpoints ?? [])
    .filter(({ conditions }) => conditions?.ready)
    .flatMap(({ addresses }) => addresses);
}

/** A command of HAProxy's runtime API. Rejects with its words if it refuses. */
function tell(socket: string, command: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const connection = connect(socket, () => connection.end(`${command}\n`));
    let reply = '';
    connection.setEncoding('utf8').on('data', (text: string) => {
      reply += text;
    });
    connection.on('error', reject);
    connection.on('close', () => {
      // It confirms a new address in a sentence, and a new state by silence.
      if (reply.trim() === '' || /changed|no need to change/i.test(reply)) resolve();
      else reject(new Error(`${command}: ${reply}`));
    });
  });
}
