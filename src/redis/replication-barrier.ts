/**
 * The replication barrier, for `DURABILITY=replicated`: waits until the replicas have all decisions of a server so far.
 *
 * `WAIT` covers only writes of its own connection, and blocks later commands on it. So the barrier has its own
 * connection and works in rounds: a round writes a mark and waits until the replicas have it. Replication is one stream:
 * a replica that has the mark has every earlier decision of every connection and process, including those that a
 * script only read or repeated. All calls during a round share the next round.
 */
import { markKey } from '../lua/keys.ts';
import { type ConnectionOptions, RedisConnection, type Session } from './connection.ts';
import type { ServerAddress } from './redis-url.ts';

/** A mark is of no use later. */
const MARK_SECONDS = 60;

export class ReplicationBarrier {
  readonly #connection: RedisConnection;
  readonly #roundMsMax: number;
  #round: Promise<Session | undefined> = Promise.resolve(undefined);
  #next: Promise<Session | undefined> | undefined;

  constructor(address: ServerAddress, options: ConnectionOptions) {
    this.#connection = new RedisConnection(address, {
      ...options,
      name: `${options.name}-replication`,
      // The connection for calls reaches the same server; it logs and counts its problems.
      log: options.log.child({}, { level: 'silent' }),
      onUnfit: () => undefined,
      onReady: () => undefined,
      metrics: undefined,
    });
    this.#roundMsMax = options.commandTimeoutMs / 2;
  }

  /** The server that it waits for; undefined: none now. */
  get session(): Session | undefined {
    return this.#connection.session;
  }

  /**
   * Resolves with the session whose replicas have all decisions from before this call; undefined if too few confirm it.
   * Takes two rounds at most, `commandTimeoutMs` together. On a cluster, the sale determines the shard.
   */
  wait(saleId: string): Promise<Session | undefined> {
    this.#next ??= this.#round.then(() => {
      this.#next = undefined;
      this.#round = this.#runRound(saleId);
      return this.#round;
    });
    return this.#next;
  }

  close(): void {
    this.#connection.close();
  }

  async #runRound(saleId: string): Promise<Session | undefined> {
    const { client, session } = this.#connection;
    if (!session) return undefined;
    try {
      const [, reached] = await Promise.all([
        client.set(markKey(saleId), '', 'EX', MARK_SECONDS),
        client.wait(session.replicas, this.#roundMsMax),
      ]);
      return reached >= session.replicas && session === this.#connection.session
        ? session
        : undefined;
    } catch (error) {
      this.#connection.faultOf(error);
      return undefined;
    }
  }
}
