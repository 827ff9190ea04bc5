/**
 * One Redis server and the calls to it. Two rules keep a decision from being made twice or on the wrong server: nothing
 * is sent again by itself, and every call carries the run id of the server behind this very connection (the fence).
 */
import type { Redis } from 'ioredis';
import { Fault } from '../domain/fault.ts';
import { keysOf, type Reply, type Script, type ScriptArgument } from '../lua/script.ts';
import { type ConnectionOptions, hasPrefix, RedisConnection, type Session } from './connection.ts';
import type { ServerAddress } from './redis-url.ts';
import { ReplicationBarrier } from './replication-barrier.ts';

/** So long after its last replica went away an old master may still decide, beyond `min-replicas-max-lag`: Redis counts
 * the lag in whole seconds, once a second. */
const LAG_ROUNDING_MS = 2_000;

/**
 * One server, for as long as the connection that was there when it was pinned: all of it throws `not_sent` afterwards,
 * for the next connection may lead to another server, or to this one without what it had. Whoever puts together what
 * several calls said pins a server first and passes it along.
 */
export interface PinnedServer {
  readonly runId: string;
  /** Whether that connection is still there. */
  readonly isThere: boolean;
  /**
   * How long the master before this one may still be deciding, isolated together with some of its clients: until it
   * misses its replicas and refuses to write. 0: there was none, or it would never stop (`min-replicas-to-write 0`).
   */
  readonly oldMasterGraceMs: number;
  /** For one command: ask for it again for the next. */
  readonly client: Redis;
  /** As of Shard. */
  call: Shard['call'];
  /**
   * Resolves when replicas have all that it has decided up to now, at once where that is not promised. Throws
   * `outcome_unknown` where too few say so.
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

  /** Undefined while there is no connection, or no answer yet to what server it leads to. */
  get runId(): string | undefined {
    return this.#connection.session?.runId;
  }

  /** Throws `not_sent` while there is no server. */
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
        const silentAt = session.seenAt + session.replicasLagMsMax + LAG_ROUNDING_MS;
        return Math.max(0, silentAt - performance.now());
      },
      get client() {
        requireSame(connection, session);
        return connection.client;
      },
      call: (script, saleId, ...args) => this.#call(session, script, saleId, args),
      replicated: (saleId) => this.#replicated(saleId, session.runId),
    };
  }

  /**
   * Runs a script on this server; under `DURABILITY=replicated` answers what buyers are told only when replicas have
   * it. Throws `not_sent`, `not_executed`, `outcome_unknown` (it may have run) or `reply_malformed`.
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

  /** On the server of a session, or on whichever there is. */
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
    if (!before) throw new Fault('not_sent', 'nobody can speak for the replicas now');
    const { reply, runId } = await this.#run(session, script, saleId, args);
    const reached = await this.#barrier.wait(saleId);
    if (reached !== before || runId !== before.runId) {
      throw new Fault('outcome_unknown', 'too few replicas have the decision');
    }
    return script.decode(reply, saleId, ...args);
  }

  async #replicated(saleId: string, runId: string): Promise<void> {
    if (!this.#barrier) return;
    const reached = await this.#barrier.wait(saleId);
    if (reached?.runId !== runId) {
      throw new Fault('outcome_unknown', 'too few replicas have the decisions');
    }
  }

  async #run<Args extends unknown[], Result>(
    session: Session | undefined,
    script: Script<Args, Result>,
    saleId: string,
    args: Args,
  ): Promise<{ reply: Reply; runId: string }> {
    const keys = keysOf(script, saleId);
    const tail = script.encode(...args);
    try {
      return await this.#evaluate(session, 'evalsha', script.sha1, keys, tail);
    } catch (error) {
      if (!(error instanceof Fault) || !hasPrefix(error.cause, /^NOSCRIPT\b/)) throw error;
      // It did not run, so it may be sent again: in full, and with the fence of the connection as it is now.
      return this.#evaluate(session, 'eval', script.source, keys, tail);
    }
  }

  async #evaluate(
    session: Session | undefined,
    command: 'eval' | 'evalsha',
    script: string,
    keys: string[],
    tail: ScriptArgument[],
  ): Promise<{ reply: Reply; runId: string }> {
    if (session) requireSame(this.#connection, session);
    const runId = this.runId;
    if (runId === undefined) throw new Fault('not_sent');
    try {
      const reply = await this.client[command](script, keys.length, ...keys, runId, ...tail);
      return { reply: reply as Reply, runId };
    } catch (error) {
      throw this.#connection.faultOf(error);
    }
  }
}

function requireSame(connection: RedisConnection, session: Session): void {
  if (connection.session === session) return;
  throw new Fault('not_sent', 'the connection on which this began is gone');
}
