/** The Redis servers of a run, as processes of the engine and as faults see them. */
import { Redis } from 'ioredis';
import { startRedis, type TestRedis } from '../../harness/servers/redis.ts';
import { steppedClock } from '../../harness/servers/stepped-clock.ts';

export type ServerName = 'redis' | `redis-${number}`;

/** `single`: one server. `cluster`: three masters with a replica each. `sentinel`: a master, two replicas, three sentinels. */
export const TOPOLOGIES = ['single', 'cluster', 'sentinel'] as const;
export type TopologyName = (typeof TOPOLOGIES)[number];

export interface TopologyChoices {
  /** The servers' program; undefined: the machine's Redis. */
  command: string | undefined;
  /** Whether the servers' clocks can be set: not with every program. */
  hasClocks: boolean;
  appendfsync: 'always' | 'everysec';
  /** Its slot decides which master of a cluster has the sale. */
  saleId: string;
}

export interface TopologyServer extends TestRedis {
  /** `redis` in a topology of one server, otherwise `redis-1`, `redis-2`, …. */
  readonly name: ServerName;
  /** At which processes of the engine and other servers find it. */
  readonly announcedPort: number;
  /** Sets its clock to so many milliseconds ahead of the machine's. Undefined: impossible here. */
  readonly setClock: ((offsetMs: number) => void) | undefined;
  /** The suite's own connection. Its commands reject while the server does not respond. */
  readonly client: Redis;
}

export interface Topology {
  /** For `REDIS_URL`. */
  readonly url: string;
  /** From the ports at which processes find servers and sentinels to those that these listen on. */
  readonly ports: ReadonlyMap<number, number>;
  readonly servers: readonly TopologyServer[];
  /** The server that has the sale; during a failover the old or the new one. Rejects if no server says that it is. */
  master(): Promise<TopologyServer>;
  /** A replica of that server; undefined: none responds. */
  replica(): Promise<TopologyServer | undefined>;
  /** Resolves when one server alone has the sale, and has as many replicas as at the start. */
  untilSettled(): Promise<void>;
  /** Separates a server from all others and from the sentinels. Processes of the engine still reach it. */
  isolate(server: TopologyServer): void;
  /** Ends `isolate`. */
  heal(): void;
  /** Makes a replica the master while the old one lives. A cluster lets the replica catch up first. Sentinels do not. */
  handOver(): Promise<void>;
  /**
   * Resolves to a function that at once makes a replica the master, without the old one's consent. Only in a cluster:
   * sentinels act some tenths of a second after the command.
   */
  prepareTakeover(): Promise<() => Promise<void>>;
  /** Moves the sale's slot to another master. Only in a cluster. */
  moveSlot(): Promise<void>;
  stop(): Promise<void>;
}

const COMMAND_MS_MAX = 5_000;
const RECONNECT_MS = 100;

/** Starts a server with what a topology needs. */
export async function startServer<Extra extends { announcedPort: number }>(
  name: ServerName,
  { command, appendfsync, hasClocks }: TopologyChoices,
  { extra, ...choices }: { extra: Extra; port: number; args?: string[] },
): Promise<TopologyServer & Extra> {
  const clock = hasClocks ? steppedClock() : undefined;
  const redis = await startRedis({ ...choices, command, appendfsync, env: clock?.env ?? {} });
  const client = new Redis(redis.url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_MS_MAX,
    retryStrategy: () => RECONNECT_MS,
  });
  client.on('error', () => undefined); // A command reports that the server is down.
  const stopServer = redis.stop.bind(redis);
  return Object.assign(redis, extra, {
    name,
    client,
    setClock: clock?.set,
    stop: async () => {
      client.disconnect();
      await stopServer();
    },
  });
}
