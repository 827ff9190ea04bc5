/**
 * Where a sale lives: the shard that owns its hash slot, and the calls to it. Three rules keep a decision from
 * being made twice or on the wrong server: nothing waits in a client-side queue, nothing is sent again by itself,
 * and every call carries the run id of the server behind this very connection (the fence).
 */

import calculateSlot from 'cluster-key-slot';
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from 'pino';
import { Fault } from '../domain/fault.ts';
import { CHANGED_CHANNEL, saleKey } from '../lua/keys.ts';
import { keysOf, type Reply, type Script } from '../lua/script.ts';
import { parseRedisUrl, type ServerAddress } from './address.ts';
import { requireFit, type ServerDemands } from './server-demands.ts';

export interface ShardsOptions {
  url: string;
  /** Shown by `CLIENT LIST`. */
  name: string;
  commandTimeoutMs: number;
  demands: ServerDemands;
  log: Logger;
  /** Called when the first server to answer must not be sold on, with what to set; later ones are waited out. */
  onUnfit: (fault: Fault) => void;
}

/** Refusals by which Redis says that it ran nothing. */
const NOT_EXECUTED =
  /^(NOSCRIPT|MOVED|ASK|CLUSTERDOWN|TRYAGAIN|READONLY|LOADING|MASTERDOWN|MISCONF|BUSY|OOM|NOAUTH|NOREPLICAS)\b/;

/** Under `DURABILITY=replicated`: the replicas that must have a decision before anyone hears of it. */
const REPLICAS_MIN = 1;
const TOPOLOGY_INTERVAL_MS = 5_000;
const RETRY_MS_MAX = 2_000;

/** One Redis server and the connection to it. */
export class Shard {
  readonly client: Redis;
  readonly #options: ShardsOptions;
  #runId: string | undefined;
  #lastComplaint = '';
  #wasReady = false;
  /** Connections lost so far: tells whether two moments saw the same connection. */
  #losses = 0;

  constructor(address: ServerAddress, options: ShardsOptions) {
    this.#options = options;
    this.client = new Redis({
      ...address,
      connectionName: options.name,
      commandTimeout: options.commandTimeoutMs,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: retryDelayMs,
    });
    this.client.on('ready', () => void this.#learnRunId());
    this.client.on('close', () => {
      this.#runId = undefined;
      this.#losses++;
    });
    this.client.on('error', (error: Error) => this.#complain(error));
  }

  /** Undefined while there is no connection, or no answer yet to what server it leads to. */
  get runId(): string | undefined {
    return this.#runId;
  }

  /**
   * Runs a script on this server. Throws `not_sent`, `not_executed`, `outcome_unknown` (it may have run) or
   * `reply_malformed`.
   */
  async call<Args extends unknown[], Result>(
    script: Script<Args, Result>,
    saleId: string,
    ...args: Args
  ): Promise<Result> {
    const keys = keysOf(script, saleId);
    const tail = script.encode(...args);
    let reply: Reply;
    try {
      reply = await this.#evaluate('evalsha', script.sha1, keys, tail);
    } catch (error) {
      if (!(error instanceof Fault) || !hasPrefix(error.cause, /^NOSCRIPT\b/)) throw error;
      // It did not run, so it may be sent again: in full, and with the fence of the connection as it is now.
      reply = await this.#evaluate('eval', script.source, keys, tail);
    }
    return script.decode(reply, ...args);
  }

  /**
   * Runs a script and answers only when so many replicas have what it wrote. `WAIT` speaks of the writes of its own
   * connection, so a connection that was replaced meanwhile proves nothing. Throws as `call` does.
   */
  async callReplicated<Args extends unknown[], Result>(
    replicas: number,
    script: Script<Args, Result>,
    saleId: string,
    ...args: Args
  ): Promise<Result> {
    const losses = this.#losses;
    const result = await this.call(script, saleId, ...args);
    const reached =
      losses === this.#losses ? await this.#replicasWithWrites(replicas) : Number.NEGATIVE_INFINITY;
    if (reached < replicas)
      throw new Fault('outcome_unknown', 'too few replicas have the decision');
    return result;
  }

  async #replicasWithWrites(replicas: number): Promise<number> {
    try {
      return await this.client.wait(replicas, this.#options.commandTimeoutMs / 2);
    } catch (error) {
      throw this.#classify(error);
    }
  }

  async #evaluate(
    command: 'eval' | 'evalsha',
    script: string,
    keys: string[],
    tail: (string | number)[],
  ): Promise<Reply> {
    const fence = this.#runId;
    if (fence === undefined) throw new Fault('not_sent');
    try {
      return (await this.client[command](script, keys.length, ...keys, fence, ...tail)) as Reply;
    } catch (error) {
      throw this.#classify(error);
    }
  }

  #classify(error: unknown): Fault {
    if (hasPrefix(error, NOT_EXECUTED))
      return new Fault('not_executed', undefined, { cause: error });
    if (hasPrefix(error, /^Command timed out/)) {
      // A server that is silent for so long may be behind a dead connection: try a new one.
      this.client.disconnect(true);
    }
    if (hasPrefix(error, /^Stream isn't writeable/)) {
      return new Fault('not_sent', undefined, { cause: error });
    }
    return new Fault('outcome_unknown', undefined, { cause: error });
  }

  async #learnRunId(): Promise<void> {
    try {
      await requireFit(this.client, this.#options.demands);
      const info = await this.client.info('server');
      const runId = /^run_id:(\w+)/m.exec(info)?.[1];
      if (!runId) throw new Fault('reply_malformed', 'INFO server names no run_id');
      this.#runId = runId;
      this.#wasReady = true;
      this.#lastComplaint = '';
      this.#options.log.info({ redis: addressOf(this.client.options), runId }, 'redis is ready');
    } catch (error) {
      const isNews = this.#complain(error as Error);
      if (isNews && error instanceof Fault && error.code === 'server_unfit' && !this.#wasReady) {
        this.#options.onUnfit(error);
      }
      const losses = this.#losses;
      setTimeout(() => {
        // Only this connection: there may be a newer one by then, and a healthy one.
        if (losses === this.#losses) this.client.disconnect(true);
      }, RETRY_MS_MAX).unref();
    }
  }

  /** Says each new trouble once, not once a retry. False: it was said before. */
  #complain(error: Error): boolean {
    const message = error.message || String((error as NodeJS.ErrnoException).code);
    if (message === this.#lastComplaint) return false;
    this.#lastComplaint = message;
    this.#options.log.warn(
      { redis: addressOf(this.client.options) },
      `redis is not usable, trying again: ${message}`,
    );
    return true;
  }
}

type SubscriberOptions = Pick<
  RedisOptions,
  'autoResubscribe' | 'enableOfflineQueue' | 'maxRetriesPerRequest' | 'commandTimeout'
>;

interface SlotRange {
  first: number;
  last: number;
  shard: Shard;
}

/** All shards: one server for everything, or the masters of a cluster with the slots of each. */
export class Shards {
  readonly #options: ShardsOptions;
  readonly #byAddress = new Map<string, Shard>();
  readonly #only: Shard | undefined;
  readonly #template: ServerAddress = {};
  readonly #subscribers: Redis[] = [];
  #ranges: SlotRange[] = [];
  #topologyTimer: NodeJS.Timeout | undefined;

  constructor(options: ShardsOptions) {
    this.#options = options;
    const address = parseRedisUrl(options.url);
    if (address.kind === 'server') {
      this.#only = this.#shardAt(address.options);
      return;
    }
    this.#template = address.seeds[0]!;
    for (const seed of address.seeds)
      this.#shardAt(seed).client.on('ready', () => void this.#learnTopology());
    this.#topologyTimer = setInterval(
      () => void this.#learnTopology(),
      TOPOLOGY_INTERVAL_MS,
    ).unref();
  }

  /** The shard that owns a sale. Throws `not_sent` while the cluster's topology isn't known. */
  of(saleId: string): Shard {
    if (this.#only) return this.#only;
    const slot = calculateSlot(saleKey(saleId, 'sale'));
    const range = this.#ranges.find(({ first, last }) => first <= slot && slot <= last);
    if (!range) throw new Fault('not_sent', `no known node owns slot ${slot}`);
    return range.shard;
  }

  /**
   * Runs a script where the sale lives; under `DURABILITY=replicated` asks for the replicas' word as well. Throws
   * what Shard.call throws.
   */
  async call<Args extends unknown[], Result>(
    script: Script<Args, Result>,
    saleId: string,
    ...args: Args
  ): Promise<Result> {
    try {
      const shard = this.of(saleId);
      if (script.writes && this.#options.demands.DURABILITY === 'replicated') {
        return await shard.callReplicated(REPLICAS_MIN, script, saleId, ...args);
      }
      return await shard.call(script, saleId, ...args);
    } catch (error) {
      if (error instanceof Fault && hasPrefix(error.cause, /^(MOVED|ASK|CLUSTERDOWN)\b/))
        void this.#learnTopology();
      throw error;
    }
  }

  get isReady(): boolean {
    if (this.#only) return this.#only.runId !== undefined;
    return this.#ranges.length > 0 && this.#ranges.every(({ shard }) => shard.runId !== undefined);
  }

  /** Tells every process that operators changed a sale. A hint: failing to tell changes nothing but promptness. */
  async publishChanged(saleId: string): Promise<void> {
    const shard = this.of(saleId);
    if (shard.runId !== undefined) await shard.client.publish(CHANGED_CHANNEL, saleId);
  }

  /** Hears those hints, over a connection of its own. */
  onChanged(listener: (saleId: string) => void): void {
    const subscriber = this.#subscriber('hints', {});
    subscriber.on('message', (_channel, saleId: string) => listener(saleId));
    subscriber.subscribe(CHANGED_CHANNEL).catch(() => undefined); // Subscribes again whenever it reconnects.
  }

  /**
   * A connection for publish/subscribe and nothing else. Whoever takes it subscribes at each `ready`, so as to know
   * what was missed. On a cluster any node will do: they pass messages on to each other.
   */
  listener(purpose: string): Redis {
    return this.#subscriber(purpose, {
      autoResubscribe: false,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: this.#options.commandTimeoutMs,
    });
  }

  #subscriber(purpose: string, options: SubscriberOptions): Redis {
    const address = parseRedisUrl(this.#options.url);
    const subscriber = new Redis({
      ...(address.kind === 'server' ? address.options : address.seeds[0]!),
      ...options,
      connectionName: `${this.#options.name}-${purpose}`,
      retryStrategy: retryDelayMs,
    });
    subscriber.on('error', () => undefined); // The shard's own connection reports the same trouble.
    this.#subscribers.push(subscriber);
    return subscriber;
  }

  close(): void {
    clearInterval(this.#topologyTimer);
    for (const shard of this.#byAddress.values()) shard.client.disconnect();
    for (const subscriber of this.#subscribers) subscriber.disconnect();
  }

  #shardAt(address: ServerAddress): Shard {
    const key = addressOf(address);
    let shard = this.#byAddress.get(key);
    if (!shard) {
      shard = new Shard(address, this.#options);
      this.#byAddress.set(key, shard);
    }
    return shard;
  }

  async #learnTopology(): Promise<void> {
    for (const shard of this.#byAddress.values()) {
      if (shard.client.status !== 'ready') continue;
      try {
        const slots = await shard.client.cluster('SLOTS');
        this.#ranges = slots.flatMap(([first, last, master]) => {
          if (!master) return [];
          const [host, port] = master;
          return [{ first, last, shard: this.#shardAt({ ...this.#template, host, port }) }];
        });
        return;
      } catch (error) {
        this.#options.log.warn({ err: error }, 'could not learn the topology of the cluster');
      }
    }
  }
}

function retryDelayMs(attempt: number): number {
  const ceiling = Math.min(RETRY_MS_MAX, 50 * 2 ** Math.min(attempt, 10));
  return ceiling / 2 + Math.random() * (ceiling / 2);
}

function addressOf(options: ServerAddress): string {
  if (options.sentinels) return `sentinel ${options.name ?? ''}`;
  return `${options.host}:${options.port}`;
}

function hasPrefix(error: unknown, pattern: RegExp): boolean {
  return error instanceof Error && pattern.test(error.message);
}
