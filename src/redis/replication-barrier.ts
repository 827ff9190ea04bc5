/**
 * The replicas' word, for `DURABILITY=replicated`: that they have all that a server has decided up to now.
 *
 * `WAIT` vouches only for what its own connection wrote, and keeps whatever follows on that connection waiting. So the
 * word is asked for on a connection of its own, in rounds: one writes a mark and waits until the replicas have it.
 * Replication is one stream, so whoever has the mark has every decision before it, whichever connection or process
 * made it, also one that a script only read or repeated. All who ask during a round share the next one.
 */
import { markKey } from '../lua/keys.ts';
import { type ConnectionOptions, RedisConnection, type Session } from './connection.ts';
import type { ServerAddress } from './redis-url.ts';

/** A mark means nothing later on. */
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
      // The connection for calls meets the same server, and says what is wrong with it.
      log: options.log.child({}, { level: 'silent' }),
      onUnfit: () => undefined,
      onReady: () => undefined,
    });
    this.#roundMsMax = options.commandTimeoutMs / 2;
  }

  /** Whom it can speak for now; undefined: nobody. */
  get session(): Session | undefined {
    return this.#connection.session;
  }

  /**
   * Resolves with the session whose replicas have all that was decided before this call, undefined when too few of
   * them say so. Takes two rounds at most, `commandTimeoutMs` together. The sale says which shard of a cluster.
   */
  wait(saleId: string): Promise<Session | undefined> {
    this.#next ??= this.#round.then(() => {
      this.#next = undefined;
      this.#round = this.#ask(saleId);
      return this.#round;
    });
    return this.#next;
  }

  close(): void {
    this.#connection.close();
  }

  async #ask(saleId: string): Promise<Session | undefined> {
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
