/**
 * The replicas of a master, which `WAIT` counts and which may be promoted: the master does not know their settings, so
 * each replica is asked itself, at the address that the master knows and with the same credentials.
 */
import { Redis } from 'ioredis';

/** A replica that does not reply within this time counts as unreachable, and delays nobody. */
const REPLY_MS_MAX = 500;

/** `shortcomingsOf` checks one replica; a rejection means that it could not be checked. */
export async function replicaShortcomings(
  master: Redis,
  field: (name: string) => string,
  shortcomingsOf: (replica: Redis) => Promise<string[]>,
): Promise<{ shortcomings: string[]; unreachable: string[] }> {
  const shortcomings: string[] = [];
  const unreachable: string[] = [];
  await Promise.all(
    addressesOf(field).map(async ({ host, port }) => {
      const replica = connect(master, host, port);
      try {
        await replica.connect();
        const found = await shortcomingsOf(replica);
        shortcomings.push(...found.map((each) => `on its replica ${host}:${port}, ${each}`));
      } catch {
        unreachable.push(`the replica ${host}:${port}, because it is not reachable from here`);
      } finally {
        replica.disconnect();
      }
    }),
  );
  return { shortcomings: shortcomings.toSorted(), unreachable: unreachable.toSorted() };
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
