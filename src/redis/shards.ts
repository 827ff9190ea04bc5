/** The shard of each sale: the only server, or the master that owns its slot of a cluster. */
import calculateSlot from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { Fault } from '../domain/fault.ts';
import {
  CHANGED_CHANNEL,
  MISSED_CHANNEL,
  saleKey,
  WORK_CHANNEL,
  winnersChannel,
} from '../lua/keys.ts';
import type { Script } from '../lua/script.ts';
import { slotOwners } from './cluster-slots.ts';
import { addressOf, type ConnectionOptions, hasPrefix, retryDelayMs } from './connection.ts';
import {
  type IdentityPlace,
  identityKey,
  readIdentity,
  type StoredIdentity,
  serverNumber,
} from './identity.ts';
import { otherIdentities, placeOf } from './identity-places.ts';
import { parseRedisUrl, type ServerAddress } from './redis-url.ts';
import { Shard } from './shard.ts';

type ShardsOptions = Omit<ConnectionOptions, 'onReady' | 'onClockJump' | 'admit'> & {
  url: string;
  /** Decides whether the database of this process belongs to a server, see pairing/pairing.ts. */
  admission?: Admission | undefined;
};

export interface Admission {
  /** `others` reads the identities of the cluster's other masters. Returns and throws as `admit` of a connection. */
  admit(place: IdentityPlace, others: () => Promise<StoredIdentity[]>): Promise<boolean>;
}

/** Maximum age of a cluster's topology, and the interval of queries while a master is unavailable. */
const TOPOLOGY_MS_MAX = 5_000;
const TOPOLOGY_RETRY_MS = 500;

/** All shards: one server, or the masters of a cluster and their slots. */
export class Shards {
  readonly #options: ShardsOptions;
  readonly #byAddress = new Map<string, Shard>();
  readonly #only: Shard | undefined;
  readonly #template: ServerAddress;
  readonly #subscribers: Redis[] = [];
  readonly #readyListeners: (() => void)[] = [];
  readonly #clockJumpListeners: (() => void)[] = [];
  readonly #completenessReads = new Map<Shard, Promise<boolean>>();
  #ranges: { first: number; last: number; shard: Shard }[] = [];
  #topologyAt = Number.NEGATIVE_INFINITY;
  #isLearning = false;
  #topologyTimer: NodeJS.Timeout | undefined;

  constructor(options: ShardsOptions) {
    this.#options = options;
    const servers = parseRedisUrl(options.url);
    this.#template = servers[0];
    if (servers.length === 1) {
      this.#only = this.#shardAt(servers[0]);
      return;
    }
    for (const server of servers)
      this.#shardAt(server).client.on('ready', () => void this.#learnTopology());
    this.#topologyTimer = setInterval(() => {
      const isOld = performance.now() - this.#topologyAt >= TOPOLOGY_MS_MAX;
      if (isOld || !this.isReady) void this.#learnTopology();
    }, TOPOLOGY_RETRY_MS).unref();
  }

  /** The shard that owns a sale. Throws `not_sent` while the cluster's topology isn't known. */
  of(saleId: string): Shard {
    if (this.#only) return this.#only;
    const slot = calculateSlot(saleKey(saleId, 'sale'));
    const range = this.#ranges.find(({ first, last }) => first <= slot && slot <= last);
    if (!range) throw new Fault('not_sent', `no known node owns slot ${slot}`);
    return range.shard;
  }

  /** Runs a script on the sale's shard. Throws what Shard.call throws. */
  async call<Args extends unknown[], Result>(
    script: Script<Args, Result>,
    saleId: string,
    ...args: Args
  ): Promise<Result> {
    try {
      return await this.of(saleId).call(script, saleId, ...args);
    } catch (error) {
      if (error instanceof Fault && hasPrefix(error.cause, /^(MOVED|ASK|CLUSTERDOWN)\b/))
        void this.#learnTopology();
      throw error;
    }
  }

  /** `DURABILITY=replicated`: Redis may publish an event before the replicas have it. */
  get waitsForReplicas(): boolean {
    return this.#options.requirements.DURABILITY === 'replicated';
  }

  get isReady(): boolean {
    return this.#areAll(({ runId }) => runId !== undefined);
  }

  /** Whether the database of this process is known to belong to every server. */
  get isPaired(): boolean {
    return this.#areAll(({ isPaired }) => isPaired);
  }

  /** As `isReady`, apart from the database that the admission still waits for. */
  get isReachable(): boolean {
    return this.#areAll(({ isReachable }) => isReachable);
  }

  /** Why servers may not be used although they reply: each with the settings to change. */
  get unfitness(): string[] {
    const shards = this.#only ? [this.#only] : [...this.#byAddress.values()];
    return shards.flatMap(({ unfitness }) => unfitness ?? []);
  }

  /**
   * Whether the sale's server has every sale that exists. False: it lost its memory, and recovery is not over. Ask after
   * the reply that the server does not have a sale. Throws the faults of a call.
   */
  async hasEverySale(saleId: string): Promise<boolean> {
    const shard = this.of(saleId);
    let reading = this.#completenessReads.get(shard);
    if (!reading) {
      // The replies of one packet share a read; a later reply needs another one.
      reading = Promise.resolve().then(() => {
        this.#completenessReads.delete(shard);
        return this.#identityOn(shard).then((identity) => identity?.isComplete === true);
      });
      this.#completenessReads.set(shard, reading);
    }
    return reading;
  }

  /** The identity that the sale's server stores. Throws the faults of a call. */
  async identityOf(saleId: string): Promise<StoredIdentity | undefined> {
    return this.#identityOn(this.of(saleId));
  }

  /** Throws `not_sent` as long as it is not known that this process' database belongs to the sale's server. */
  requirePaired(saleId: string): void {
    if (!this.of(saleId).isPaired)
      throw new Fault('not_sent', 'it is not known yet whether this database belongs to Redis');
  }

  /** Repeats the check of each server now. */
  checkNow(): void {
    for (const shard of this.#byAddress.values()) shard.checkNow();
  }

  /** Where the servers keep their identities. Without those that have no session. */
  async identityPlaces(): Promise<IdentityPlace[]> {
    const shards = this.#only ? [this.#only] : new Set(this.#ranges.map(({ shard }) => shard));
    const ready = [...shards].filter(({ runId }) => runId !== undefined);
    const places = await Promise.all(ready.map(({ client }) => placeOf(client, this.#isCluster)));
    return places.filter((place) => place !== undefined);
  }

  /** The servers that can be called, each with the smallest number whose slot it owns: keys with that tag are on it. */
  get servers(): { shard: Shard; number: number }[] {
    const shards = this.#only ? [this.#only] : new Set(this.#ranges.map(({ shard }) => shard));
    return [...shards].flatMap((shard) => {
      const ranges = this.#ranges.filter((range) => range.shard === shard);
      const number = serverNumber(this.#only ? undefined : ranges);
      return shard.runId === undefined || number === undefined ? [] : [{ shard, number }];
    });
  }

  /** Called whenever a server can be called (again). */
  onReady(listener: () => void): void {
    this.#readyListeners.push(listener);
  }

  /** Called when a server's clock was found to have jumped: sleeping until a deadline may be wrong. */
  onClockJump(listener: () => void): void {
    this.#clockJumpListeners.push(listener);
  }

  /** Publishes that an operator has changed a sale. A hint: without it, processes notice the change later. */
  async publishChanged(saleId: string): Promise<void> {
    await this.#publish(CHANGED_CHANNEL, saleId);
  }

  /** Publishes that a client waits for a persister to open this sale. A hint too. */
  async publishWork(saleId: string): Promise<void> {
    await this.#publish(WORK_CHANNEL, saleId);
  }

  /** Publishes that a sale was requested which Redis does not have open: it may be archived. A hint too. */
  async publishMissed(saleId: string): Promise<void> {
    await this.#publish(MISSED_CHANNEL, saleId);
  }

  /**
   * Publishes the winners of a sale. A hint too. Resolves to the number of listeners; of a cluster's, only those at the
   * sale's server are counted.
   */
  async publishWinners(saleId: string, message: Buffer): Promise<number> {
    const shard = this.of(saleId);
    return shard.runId === undefined ? 0 : shard.client.publish(winnersChannel(saleId), message);
  }

  /** Receives the hints that operators' changes cause, over a connection of its own. */
  onChanged(listener: (saleId: string) => void): void {
    this.onHints({ [CHANGED_CHANNEL]: listener }, () => undefined);
  }

  /** Receives hints by channel, over a connection of its own. `onSubscribed`: hints may have been missed before. */
  onHints(
    listeners: Readonly<Record<string, (saleId: string) => void>>,
    onSubscribed: () => void,
  ): void {
    const subscriber = this.listener('hints');
    subscriber.on('message', (channel: string, saleId: string) => listeners[channel]?.(saleId));
    subscriber.on('ready', () => {
      subscriber.subscribe(...Object.keys(listeners)).then(onSubscribed, () => {
        if (subscriber.status === 'ready') subscriber.disconnect(true);
      });
    });
  }

  /**
   * A connection for publish/subscribe only. The caller subscribes at each `ready` and therefore knows when it may have
   * missed messages; ioredis' own resubscription can also throw an error that no caller can catch. On a cluster any
   * node works: the nodes forward messages to each other.
   */
  listener(purpose: string): Redis {
    const servers = parseRedisUrl(this.#options.url);
    const subscriber: Redis = new Redis({
      ...servers[0],
      // It can end the connection for good, see connection.ts; a demoted master closes it anyway.
      failoverDetector: false,
      connectionName: `${this.#options.name}-${purpose}`,
      autoResubscribe: false,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: this.#options.commandTimeoutMs,
      retryStrategy: (attempt) => {
        // On a cluster, try the next node: this one may stay unavailable.
        Object.assign(subscriber.options, servers[attempt % servers.length]);
        return retryDelayMs(attempt);
      },
    });
    subscriber.on('error', () => undefined); // The shard's own connection reports the same problem.
    this.#subscribers.push(subscriber);
    return subscriber;
  }

  close(): void {
    clearInterval(this.#topologyTimer);
    for (const shard of this.#byAddress.values()) shard.close();
    for (const subscriber of this.#subscribers) subscriber.disconnect();
  }

  #areAll(condition: (shard: Shard) => boolean): boolean {
    if (this.#only) return condition(this.#only);
    return this.#ranges.length > 0 && this.#ranges.every(({ shard }) => condition(shard));
  }

  async #publish(channel: string, saleId: string): Promise<void> {
    const shard = this.of(saleId);
    if (shard.runId !== undefined) await shard.client.publish(channel, saleId);
  }

  #shardAt(address: ServerAddress): Shard {
    const key = addressOf(address);
    let shard = this.#byAddress.get(key);
    if (!shard) {
      const { admission } = this.#options;
      shard = new Shard(address, {
        ...this.#options,
        admit: admission && ((client) => this.#admit(admission, client)),
        onReady: () => {
          for (const listener of this.#readyListeners) listener();
        },
        onClockJump: () => {
          for (const listener of this.#clockJumpListeners) listener();
        },
      });
      this.#byAddress.set(key, shard);
    }
    return shard;
  }

  async #identityOn(shard: Shard): Promise<StoredIdentity | undefined> {
    const ranges = this.#ranges.filter((range) => range.shard === shard);
    const key = identityKey(this.#only ? undefined : ranges);
    if (shard.runId === undefined || key === undefined) throw new Fault('not_sent');
    try {
      return await readIdentity({ client: shard.client, key });
    } catch (error) {
      throw shard.faultOf(error);
    }
  }

  get #isCluster(): boolean {
    return this.#only === undefined;
  }

  async #admit(admission: Admission, client: Redis): Promise<boolean> {
    const place = await placeOf(client, this.#isCluster);
    // A master without slots has no sales.
    return place !== undefined && admission.admit(place, () => this.#otherIdentities(client));
  }

  async #otherIdentities(client: Redis): Promise<StoredIdentity[]> {
    if (!this.#isCluster) return [];
    return otherIdentities(client, (at) => this.#shardAt({ ...this.#template, ...at }).client);
  }

  async #learnTopology(): Promise<void> {
    if (this.#isLearning) return;
    this.#isLearning = true;
    const nodes = [...this.#byAddress.values()].map(({ client }) => client);
    const owners = await slotOwners(nodes.filter(({ status }) => status === 'ready'));
    this.#isLearning = false;
    if (!owners) return;
    this.#topologyAt = performance.now();
    this.#ranges = owners.map(({ first, last, host, port }) => ({
      first,
      last,
      shard: this.#shardAt({ ...this.#template, host, port }),
    }));
    const masters = new Set(this.#ranges.map(({ shard }) => shard));
    for (const shard of this.#byAddress.values()) {
      // If it becomes a master again, it must count as a new one.
      if (!masters.has(shard) && shard.runId !== undefined) shard.client.disconnect(true);
    }
  }
}
