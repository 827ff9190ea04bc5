/**
 * One connection to a Redis server that always knows which server that is. Each time it is made, it asks for the run
 * id and whether the server is fit for selling, and until both are answered it leads nowhere.
 */
import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { Fault } from '../domain/fault.ts';
import { backoffMs } from '../process/backoff.ts';
import type { ServerAddress } from './redis-url.ts';
import { type FitServer, requireFit, type ServerRequirements } from './server-requirements.ts';

export interface ConnectionOptions {
  /** Shown by `CLIENT LIST`. */
  name: string;
  commandTimeoutMs: number;
  requirements: ServerRequirements;
  log: Logger;
  /** Called when the first server to answer must not be sold on, with what to set; later ones are waited out. */
  onUnfit: (fault: Fault) => void;
  /** Called whenever it leads somewhere (again). */
  onReady: () => void;
}

/** The server behind a connection, for as long as this very connection lasts: after the next one it is another object. */
export interface Session extends FitServer {
  /** When this process first saw it as the master that it is now, on its monotonic clock. */
  seenAt: number;
}

/** Refusals by which Redis says that it ran nothing. */
const NOT_EXECUTED =
  /^(NOSCRIPT|MOVED|ASK|CLUSTERDOWN|TRYAGAIN|READONLY|LOADING|MASTERDOWN|MISCONF|BUSY|NOAUTH|NOREPLICAS)\b/;
/** The server was made a replica: the address may lead to another one by now. */
const DEMOTED = /^(READONLY|MASTERDOWN)\b/;
/** An unfit server is asked again after so long. */
const UNFIT_MS = 2_000;
const RETRY_FIRST_MS = 50;
/** The longest pause between two tries to connect: it is what buyers wait for when a server has come back. */
const RETRY_MS_MAX = 500;
const LOADING_LOOK_MS = 50;
/** How often a cluster's replica is asked whether it is a master by now. */
const PROMOTION_LOOK_MS = 500;
const CONNECT_MS_MAX = 2_000;
/** A sentinel that is frozen must not keep us from asking the next one. */
const SENTINEL_MS_MAX = 500;
/** A connection that is given up is closed in order for so long, then cut: a frozen server never takes part. */
const DISCONNECT_MS_MAX = 250;

export class RedisConnection {
  readonly client: Redis;
  readonly #options: ConnectionOptions;
  #session: Session | undefined;
  #lastSession: Session | undefined;
  #lastComplaint = '';
  #isClosed = false;
  /** Connections lost so far: tells whether two moments saw the same connection. */
  #losses = 0;

  constructor(address: ServerAddress, options: ConnectionOptions) {
    this.#options = options;
    this.client = new Redis({
      ...address,
      connectionName: options.name,
      connectTimeout: CONNECT_MS_MAX,
      commandTimeout: options.commandTimeoutMs,
      disconnectTimeout: DISCONNECT_MS_MAX,
      maxLoadingRetryTime: LOADING_LOOK_MS,
      sentinelCommandTimeout: SENTINEL_MS_MAX,
      // Nothing waits in a queue of the client, and nothing is sent again by itself.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: retryDelayMs,
      reconnectOnError: (error) => DEMOTED.test(error.message),
    });
    this.client.on('ready', () => void this.#meet());
    this.client.on('close', () => {
      this.#session = undefined;
      this.#losses++;
    });
    this.client.on('end', () => this.#connectAgain());
    this.client.on('error', (error: Error) => this.#complain(error));
  }

  /** Undefined while there is no connection, or no answer yet to what server it leads to. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** What is known of a call's outcome from the error that it ended with. */
  faultOf(error: unknown): Fault {
    if (hasPrefix(error, /^OOM\b/)) return new Fault('out_of_memory', undefined, { cause: error });
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

  close(): void {
    this.#isClosed = true;
    this.client.disconnect();
  }

  /**
   * ioredis gives up for good when it has to let go of a connection while it asks sentinels where to connect, which is
   * what happens when they tell of a failover at that moment.
   */
  #connectAgain(): void {
    if (this.#isClosed) return;
    setTimeout(() => {
      if (!this.#isClosed) this.client.connect().catch(() => undefined); // Ends here again.
    }, retryDelayMs(1)).unref();
  }

  async #meet(): Promise<void> {
    const losses = this.#losses;
    try {
      const server = await requireFit(this.client, this.#options.requirements);
      if (losses !== this.#losses) return;
      if (!server) {
        this.#later(PROMOTION_LOOK_MS, () => void this.#meet());
        return;
      }
      const last = this.#lastSession;
      const isTheSame = last?.runId === server.runId && last.replicationId === server.replicationId;
      this.#session = { ...server, seenAt: isTheSame ? last.seenAt : performance.now() };
      this.#lastSession = this.#session;
      this.#lastComplaint = '';
      const { runId } = server;
      this.#options.log.info({ redis: addressOf(this.client.options), runId }, 'redis is ready');
      if (!last) this.#warnOfBystanders(server);
      this.#options.onReady();
    } catch (error) {
      if (losses !== this.#losses) return;
      const isNews = this.#complain(error as Error);
      if (isNews && error instanceof Fault && error.code === 'server_unfit' && !this.#lastSession) {
        this.#options.onUnfit(error);
      }
      this.#later(UNFIT_MS, () => this.client.disconnect(true));
    }
  }

  /** Replicas that need not vouch may be promoted all the same, by whoever does not know better. */
  #warnOfBystanders({ replicas, replicasConnected }: FitServer): void {
    if (replicas === 0 || replicasConnected <= replicas) return;
    this.#options.log.warn(
      { redis: addressOf(this.client.options), replicas, replicasConnected },
      `a yes waits for ${replicas} of ${replicasConnected} replicas, and one that lacks it may be promoted; set min-replicas-to-write ${replicasConnected} to wait for all`,
    );
  }

  /** Unless the connection is lost until then: there may be a newer one, and a healthy one. */
  #later(delayMs: number, action: () => void): void {
    const losses = this.#losses;
    setTimeout(() => {
      if (losses === this.#losses) action();
    }, delayMs).unref();
  }

  /** Says each new trouble once, not once a retry. False: it was said before. */
  #complain(error: Error): boolean {
    const said = error.message || String((error as NodeJS.ErrnoException).code);
    // Where sentinels are asked, each try would be news by its pause.
    const message = said.replace(/ Retrying from scratch after \d+ms\./, '');
    if (message === this.#lastComplaint) return false;
    this.#lastComplaint = message;
    this.#options.log.warn(
      { redis: addressOf(this.client.options) },
      `redis is not usable, trying again: ${message}`,
    );
    return true;
  }
}

/** Doubles up to half a second, its upper half drawn at random. */
export function retryDelayMs(attempt: number): number {
  return backoffMs(attempt, RETRY_FIRST_MS, RETRY_MS_MAX);
}

export function addressOf(options: ServerAddress): string {
  if (options.sentinels) return `sentinel ${options.name ?? ''}`;
  return `${options.host}:${options.port}`;
}

export function hasPrefix(error: unknown, pattern: RegExp): boolean {
  return error instanceof Error && pattern.test(error.message);
}
