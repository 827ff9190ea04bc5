/**
 * One Redis server and the calls of scripts on it. Two rules prevent a decision from being made twice or on the wrong
 * server: no call is resent automatically, and each call carries the run id of the server behind its connection, the
 * fence.
 */
import type { Redis } from 'ioredis';
import { Fault } from '../domain/fault.ts';
import { keysOf, type Reply, type Script } from '../lua/script.ts';
import type { ServerClock } from './clock-watch.ts';
import { type ConnectionOptions, hasPrefix, RedisConnection, type Session } from './connection.ts';
import type { ServerAddress } from './redis-url.ts';
import { followersOf } from './replica-requirements.ts';
import { ReplicationBarrier } from './replication-barrier.ts';

/** An old master may still decide for this long after `min-replicas-max-lag`: Redis counts the lag in whole seconds,
 * once a second. */
const LAG_ROUNDING_MS = 2_000;

/**
 * One server, while the connection from the time of pinning lasts. Afterwards every member throws `not_sent`: the next
 * connection may lead to another server, or to this one after it lost data. Code that combines the replies of several
 * calls pins a server first.
 */
export interface PinnedServer {
  readonly runId: string;
  /** Whether that connection still exists. */
  readonly isThere: boolean;
  /**
   * How long the previous master may still decide, isolated together with some of its clients: until it misses its
   * replicas and rejects writes. 0: there was none, or it would never stop (`min-replicas-to-write 0`).
   */
  readonly oldMasterGraceMs: number;
  /** Whether the server with this run id follows this one, so that it decides nothing any more. */
  isFollowedBy(runId: string): Promise<boolean>;
  /** For one command; read this property again for the next one. */
  readonly client: Redis;
  /** As of Shard. */
  call: Shard['call'];
  /**
   * Resolves when the replicas have all decisions up to now; at once unless `DURABILITY=replicated`. Throws
   * `outcome_unknown` if too few confirm it.
   */
  replicated(saleId: string): Promise<void>;
}

export class Shard {
  readonly #connection: RedisConnection;
  /** Under `DURABILITY=replicated`. */
  readonly #barrier: ReplicationBarrier | undefined;

  constructor(address: ServerAddress, options: ConnectionOptions) {
    this.#connection = new RedisConnection(address, options);
    if (options.requirements.DURABILITY === 'replicated')
      this.#barrier = new ReplicationBarrier(address, options);
  }

  get client(): Redis {
    return this.#connection.client;
  }

  /** Undefined while there is no connection, or its server has not been checked yet. */
  get runId(): string | undefined {
    return this.#connection.session?.runId;
  }

  /** Whether the database of this process is known to belong to the server. */
  get isPaired(): boolean {
    return this.#connection.session?.isPaired === true;
  }

  /** The fault for an error of a command. */
  faultOf(error: unknown): Fault {
    return this.#connection.faultOf(error);
  }

  /** Its server can be used, as far as Redis is concerned: there is a session, or its admission is awaited. */
  get isReachable(): boolean {
    return this.runId !== undefined || this.#connection.isAdmitting;
  }

  /** Repeats the check of the server now. */
  checkNow(): void {
    this.#connection.checkNow();
  }

  get clock(): ServerClock | undefined {
    return this.#connection.clock;
  }

  /** Why its server may not be used. */
  get unfitness(): string | undefined {
    return this.#connection.unfitness;
  }

  /** Throws `not_sent` while there is no session. */
  pin(): PinnedServer {
    const connection = this.#connection;
    const session = connection.session;
    if (!session) throw new Fault('not_sent');
    return {
      runId: session.runId,
      get isThere() {
        return connection.session === session;
      },
      get oldMasterGraceMs() {
        if (!session.wasPromoted || session.replicas === 0) return 0;
        const stopsAt = session.seenAt + session.replicasLagMsMax + LAG_ROUNDING_MS;
        return Math.max(0, stopsAt - performance.now());
      },
      isFollowedBy: async (runId) => {
        requireSame(connection, session);
        return (await followersOf(connection.client)).has(runId);
      },
      get client() {
        requireSame(connection, session);
        return connection.client;
      },
      call: (script, saleId, ...args) => this.#call(session, script, saleId, args),
      replicated: async (saleId) => {
        if (this.#barrier && (await this.#barrier.wait(saleId))?.runId !== session.runId)
          throw new Fault('outcome_unknown', 'too few replicas have the decisions');
      },
    };
  }

  /**
   * Runs a script on this server. Under `DURABILITY=replicated` it returns decisions only after the replicas have them.
   * Throws `not_sent`, `not_executed`, `out_of_memory`, `script_failed`, `outcome_unknown` (it may have run) or
   * `reply_malformed`.
   */
  async call<Args extends unknown[], Result>(
    script: Script<Args, Result>,
    saleId: string,
    ...args: Args
  ): Promise<Result> {
    return this.#call(undefined, script, saleId, args);
  }

  close(): void {
    this.#connection.close();
    this.#barrier?.close();
  }

  /** On the server of the session; undefined: on the current one. */
  async #call<Args extends unknown[], Result>(
    session: Session | undefined,
    script: Script<Args, Result>,
    saleId: string,
    args: Args,
  ): Promise<Result> {
    if (!this.#barrier || !script.needsReplicas) {
      const { reply } = await this.#run(session, script, saleId, args);
      return script.decode(reply, saleId, ...args);
    }
    const before = this.#barrier.session;
    if (!before) throw new Fault('not_sent', 'the replication barrier has no connection');
    const { reply, runId } = await this.#run(session, script, saleId, args);
    const reached = await this.#barrier.wait(saleId);
    if (reached !== before || runId !== before.runId) {
      throw new Fault('outcome_unknown', 'too few replicas have the decision');
    }
    return script.decode(reply, saleId, ...args);
  }

  async #run<Args extends unknown[], Result>(
    session: Session | undefined,
    script: Script<Args, Result>,
    saleId: string,
    args: Args,
    command: 'eval' | 'evalsha' = 'evalsha',
  ): Promise<{ reply: Reply; runId: string }> {
    if (session) requireSame(this.#connection, session);
    const runId = this.runId;
    if (runId === undefined) throw new Fault('not_sent');
    const keys = keysOf(script, saleId);
    const text = command === 'eval' ? script.source : script.sha1;
    const sent = script.encode(...args);
    try {
      const reply = await this.client[command](text, keys.length, ...keys, runId, ...sent);
      return { reply: reply as Reply, runId };
    } catch (error) {
      const isUnknown = command === 'evalsha' && hasPrefix(error, /^NOSCRIPT\b/);
      if (!isUnknown) throw this.#connection.faultOf(error);
    }
    // It did not run, so it can be sent again: as a whole, with the fence of the current connection.
    return this.#run(session, script, saleId, args, 'eval');
  }
}

function requireSame(connection: RedisConnection, session: Session): void {
  if (connection.session === session) return;
  throw new Fault('not_sent', 'the connection of this operation is closed');
}
