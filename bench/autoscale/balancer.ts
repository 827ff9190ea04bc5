/** HAProxy with the configuration of `deploy/`, whose servers follow the ready endpoints of a Service. */
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DiscoveryV1Api,
  type KubeConfig,
  makeInformer,
  type V1EndpointSlice,
} from '@kubernetes/client-node';
import { useReverseProxy } from '../../harness/servers/reverse-proxies.ts';
import { type Scope, use } from '../../harness/use.ts';

const SLOTS = 32;
const NOBODY = 1;
const RESTART_WATCH_MS = 1_000;

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
    (shipped) =>
      shipped
        .replace(/^global$/m, `global\n    stats socket ${socket} level admin`)
        .replaceAll(/^.*(?:-unready|option allbackups).*\n/gm, '')
        .replaceAll(/ check inter \S+ fall \S+ rise \S+/g, ' disabled'),
  );
  const slots = Array<string | undefined>(SLOTS).fill(undefined);
  let commands: Promise<unknown> = Promise.resolve();
  const follow = (addresses: readonly string[]) => {
    const lines: string[] = [];
    const server = (slot: number) => `set server hot_path/hot-path-${slot + 1}`;
    for (const [slot, address] of slots.entries()) {
      if (address === undefined || addresses.includes(address)) continue;
      slots[slot] = undefined;
      lines.push(`${server(slot)} state maint`);
    }
    for (const address of addresses) {
      if (slots.includes(address)) continue;
      const slot = slots.indexOf(undefined);
      slots[slot] = address;
      lines.push(`${server(slot)} addr ${address} port 8080`, `${server(slot)} state ready`);
    }
    for (const line of lines)
      commands = commands.then(() => tell(socket, line)).catch(console.error);
  };
  await use(
    scope,
    () => watch(config, { namespace, service }, follow),
    (stop) => stop(),
  );
  return proxy.port;
}

/** Reports the addresses of the ready endpoints at each change. Returns how to stop. */
async function watch(
  config: KubeConfig,
  { namespace, service }: { namespace: string; service: string },
  follow: (addresses: readonly string[]) => void,
): Promise<() => Promise<void>> {
  const api = config.makeApiClient(DiscoveryV1Api);
  const labelSelector = `kubernetes.io/service-name=${service}`;
  const informer = makeInformer(
    config,
    `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
    () => api.listNamespacedEndpointSlice({ namespace, labelSelector }),
    labelSelector,
  );
  const report = () => follow(informer.list(namespace).flatMap(readyAddresses));
  for (const event of ['add', 'update', 'delete'] as const) informer.on(event, report);
  informer.on('error', () => setTimeout(() => void informer.start(), RESTART_WATCH_MS));
  await informer.start();
  return () => informer.stop();
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
