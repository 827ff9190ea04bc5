/**
 * The replicas of a master, which `WAIT` counts and which may be promoted: the master does not know their settings, so
 * each replica is asked itself, at the address that the master knows and with the same credentials.
 */
import { Redis } from 'ioredis';

/** A replica that does not reply within this time counts as unreachable, and delays nobody. */
const REPLY_MS_MAX = 500;

/**
 * `shortcomingsOf` checks one replica. `behind`: it is not in sync with its master, which does not count it until then; the
 * next check of the master includes it. A rejection means that it could not be checked.
 */
export async function replicaShortcomings(
  master: Redis,
  field: (name: string) => string,
  shortcomingsOf: (replica: Redis) => Promise<string[] | 'behind'>,
): Promise<{ shortcomings: string[]; unchecked: string[] }> {
  const shortcomings: string[] = [];
  const unchecked: string[] = [];
  for (const { address, reply } of await askReplicas(master, field, shortcomingsOf)) {
    if (!reply) unchecked.push(`the replica ${address}, because it is not reachable from here`);
    else if (reply === 'behind') {
      unchecked.push(`the replica ${address}, because it is not in sync with its master yet`);
    } else shortcomings.push(...reply.map((each) => `on its replica ${address}, ${each}`));
  }
  return { shortcomings: shortcomings.toSorted(), unchecked: unchecked.toSorted() };
}

/** The run ids of the servers that now follow a master, connected and with its history: they reject writes. */
export async function followersOf(master: Redis): Promise<Set<string>> {
  const field = fieldsOf(await master.info('replication'));
  const replies = await askReplicas(master, field, async (replica) => {
    const own = fieldsOf(await replica.info());
    const follows =
      own('role') === 'slave' &&
      own('master_link_status') === 'up' &&
      own('master_replid') === field('master_replid');
    return follows ? own('run_id') : undefined;
  });
  return new Set(replies.flatMap(({ reply }) => reply ?? []));
}

/** Reads a field of a reply to INFO; empty if it is absent. */
export function fieldsOf(info: string): (name: string) => string {
  return (name) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}

/** Asks each replica. Without a reply: it did not reply in time, or `ask` rejected. */
async function askReplicas<T>(
  master: Redis,
  field: (name: string) => string,
  ask: (replica: Redis) => Promise<T>,
): Promise<{ address: string; reply: T | undefined }[]> {
  return Promise.all(
    addressesOf(field).map(async ({ host, port }) => {
      const address = `${host}:${port}`;
      const replica = connect(master, host, port);
      try {
        await replica.connect();
        return { address, reply: await ask(replica) };
      } catch {
        return { address, reply: undefined };
      } finally {
        replica.disconnect();
      }
    }),
  );
}

/** Of INFO: `slave0:ip=10.0.0.2,port=6379,state=online,offset=…`. */
function addressesOf(field: (name: string) => string): { host: string; port: number }[] {
  const addresses: { host: string; port: number }[] = [];
  for (let i = 0; i < Number(field('connected_slaves')); i++) {
    const [, host, port] = /^ip=([^,]+),port=(\d+)/.exec(field(`slave${i}`)) ?? [];
    if (host !== undefined) addresses.push({ host, port: Number(port) });
  }
  return addresses;
}

function connect({ options }: Redis, host: string, port: number): Redis {
  const replica = new Redis({
    host,
    port,
    ...(options.username ? { username: options.username } : {}),
    ...(options.password ? { password: options.password } : {}),
    ...(options.tls ? { tls: options.tls } : {}),
    connectionName: `${options.connectionName}-replica-check`,
    lazyConnect: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    connectTimeout: REPLY_MS_MAX,
    commandTimeout: REPLY_MS_MAX,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  replica.on('error', () => undefined); // The rejection of the command or of connect() reports it.
  return replica;
}
