/**
 * One connection to a Redis server, with the identity of that server. After each connect it reads the run id and checks
 * the server's requirements; it has no session before both have succeeded. It repeats the check every few seconds, and
 * ends the session of a server that no longer meets them.
 */
import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { FAULTS, Fault, type FaultCode } from '../domain/fault.ts';
import { backoffMs } from '../process/backoff.ts';
import { ClockWatch, type ServerClock } from './clock-watch.ts';
import type { RedisMetrics } from './redis-metrics.ts';
import type { ServerAddress } from './redis-url.ts';
import {
  type EarlierChecks,
  type FitServer,
  requireFit,
  type ServerRequirements,
} from './server-requirements.ts';

export interface ConnectionOptions {
  /** Shown by `CLIENT LIST`. */
  name: string;
  commandTimeoutMs: number;
  requirements: ServerRequirements;
  log: Logger;
  /** Called if the first server does not meet the requirements; the fault names the settings. Later unfit servers are retried. */
  onUnfit: (fault: Fault) => void;
  /** Called whenever there is a new session. */
  onReady: () => void;
  /** Called when the server's clock was found to have jumped. */
  onClockJump: () => void;
  /**
   * Whether this process may work on the server, asked with each check of it; throws `server_unfit` if not. Returns
   * false as long as that cannot be known.
   */
  admit?: ((client: Redis) => Promise<boolean>) | undefined;
  metrics?: RedisMetrics | undefined;
}

/** The server behind a connection. Each connect makes a new object, so two sessions can be compared by identity. */
export interface Session extends FitServer {
  /** When this process first saw the server as master with this replication id, on the process' monotonic clock. */
  seenAt: number;
  /** Whether the database of this process is known to belong to the server, see pairing/. True without a database. */
  isPaired: boolean;
}

/** Errors with which Redis says that it has not run the command. */
const NOT_EXECUTED =
  /^(NOSCRIPT|MOVED|ASK|CLUSTERDOWN|TRYAGAIN|READONLY|LOADING|MASTERDOWN|MISCONF|BUSY|NOAUTH|NOREPLICAS)\b/;
/** An error of the script itself, or of a command in it. */
const SCRIPT_FAILED = /\bscript: [0-9a-f]{40}\b/;
/** The server has become a replica: the address may lead to another server now. */
const DEMOTED = /^(READONLY|MASTERDOWN)\b/;
/** Interval between checks of an unfit server. */
const UNFIT_MS = 1_000;
/** Interval between checks of a server in use; each varies by a fifth, so that processes do not check together. */
const CHECK_MS = 2_000;
/** The same while it is not known whether the database belongs to it. */
const UNPAIRED_MS = 200;
const RETRY_FIRST_MS = 50;
/** The longest delay between two attempts to connect: after a restart of the server, buyers wait for it. */
const RETRY_MS_MAX = 500;
const LOADING_LOOK_MS = 50;
/** Interval between checks whether a cluster's replica has become a master. */
const PROMOTION_LOOK_MS = 500;
const CONNECT_MS_MAX = 2_000;
/** A frozen sentinel must not delay the query to the next one. */
const SENTINEL_MS_MAX = 500;
/** Time for an orderly close before the socket is destroyed: a frozen server never replies to it. */
const DISCONNECT_MS_MAX = 250;

export class RedisConnection {
  readonly client: Redis;
  readonly #options: ConnectionOptions;
  #session: Session | undefined;
  #lastSession: Session | undefined;
  #lastProblem = '';
  #unfitness: string | undefined;
  #unchecked = '';
  readonly #earlier: EarlierChecks = {};
  readonly #clockWatch: ClockWatch;
  #isClosed = false;
  #isAdmitting = false;
  /** Connections lost so far: equal values mean the same connection. */
  #losses = 0;
  /** The current connection is being closed, which takes a moment. */
  #isEnding = false;

  constructor(address: ServerAddress, options: ConnectionOptions) {
    this.#options = options;
    this.#clockWatch = new ClockWatch(options.log, (event) => {
      options.metrics?.clockEvent(event);
      if (event === 'jump') options.onClockJump();
    });
    this.client = new Redis({
      ...address,
      connectionName: options.name,
      connectTimeout: CONNECT_MS_MAX,
      commandTimeout: options.commandTimeoutMs,
      disconnectTimeout: DISCONNECT_MS_MAX,
      maxLoadingRetryTime: LOADING_LOOK_MS,
      sentinelCommandTimeout: SENTINEL_MS_MAX,
      // The client library must neither queue nor resend a command.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: retryDelayMs,
      reconnectOnError: (error) => DEMOTED.test(error.message),
    });
    this.client.on('ready', () => void this.#openSession());
    this.client.on('connect', () => {
      this.#isEnding = false;
    });
    this.client.on('close', () => {
      this.#isEnding = false;
      this.#session = undefined;
      this.#losses++;
    });
    this.client.on('end', () => this.#reconnect());
    this.client.on('error', (error: Error) => {
      this.#unfitness = undefined;
      this.#reportProblem(error);
    });
  }

  /** Undefined while there is no connection, or its server has not been checked yet. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** Why the server behind the connection may not be used; undefined: it may, or there is no connection. */
  get unfitness(): string | undefined {
    return this.#unfitness;
  }

  /** The server meets the requirements, and only `admit` is awaited. */
  get isAdmitting(): boolean {
    return this.#isAdmitting;
  }

  /** Undefined before the first check. */
  get clock(): ServerClock | undefined {
    return this.#clockWatch.clock;
  }

  /** The fault for an error of a call: it says what is known of the call's outcome. */
  faultOf(error: unknown): Fault {
    // The connection may be dead: make a new one.
    if (hasPrefix(error, /^Command timed out/)) this.#end();
    const code = faultCodeOf(error);
    const detail =
      code === 'not_executed'
        ? `${FAULTS.not_executed.message}: ${(error as Error).message}`
        : undefined;
    return new Fault(code, detail, { cause: error });
  }

  close(): void {
    this.#isClosed = true;
    this.client.disconnect();
  }

  /** Once for each connection: thousands of calls may find out at the same time that it is dead. */
  #end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.client.disconnect(true);
  }

  /**
   * ioredis stops for good if a connection is closed while it queries the sentinels. That happens if they report a
   * failover at that moment.
   */
  #reconnect(): void {
    if (this.#isClosed) return;
    setTimeout(() => {
      if (!this.#isClosed) this.client.connect().catch(() => undefined); // Emits `end` again.
    }, retryDelayMs(1)).unref();
  }

  async #openSession(): Promise<void> {
    const losses = this.#losses;
    try {
      const server = await requireFit(this.client, this.#options.requirements, this.#earlier);
      await this.#readClock();
      if (losses !== this.#losses) return;
      this.#unfitness = undefined;
      if (!server) {
        this.#later(PROMOTION_LOOK_MS, () => void this.#openSession());
        return;
      }
      const isPaired = await this.#admit();
      if (losses !== this.#losses) return;
      const last = this.#lastSession;
      const isTheSame = last?.runId === server.runId && last.replicationId === server.replicationId;
      this.#session = {
        ...server,
        seenAt: isTheSame ? last.seenAt : performance.now(),
        isPaired,
      };
      this.#lastSession = this.#session;
      this.#lastProblem = '';
      const { runId } = server;
      this.#options.log.info({ redis: addressOf(this.client.options), runId }, 'redis connected');
      if (!last) this.#warnAboutUnawaitedReplicas(server);
      this.#warnAboutUnchecked(server);
      this.#checkLater(this.#session);
      this.#options.onReady();
    } catch (error) {
      if (losses !== this.#losses) return;
      const isNew = this.#reportProblem(error as Error);
      const isUnfit = error instanceof Fault && error.code === 'server_unfit';
      this.#unfitness = isUnfit ? error.message : undefined;
      if (isNew && isUnfit && !this.#lastSession) this.#options.onUnfit(error);
      this.#later(UNFIT_MS, () => this.#end());
    }
  }

  async #admit(): Promise<boolean> {
    this.#isAdmitting = true;
    try {
      return (await this.#options.admit?.(this.client)) ?? true;
    } finally {
      this.#isAdmitting = false;
    }
  }

  /** Repeats the check of the server now. */
  checkNow(): void {
    const session = this.#session;
    if (session) void this.#checkAgain(session, false);
  }

  #checkLater(session: Session): void {
    const delayMs = (session.isPaired ? CHECK_MS : UNPAIRED_MS) * (0.8 + 0.4 * Math.random());
    this.#later(delayMs, () => void this.#checkAgain(session));
  }

  /**
   * Operators can change settings while the server runs. A session describes its server, so a change that matters ends
   * it: calls in flight then end as unknown, and the next connection checks everything.
   */
  async #checkAgain(session: Session, isRepeated = true): Promise<void> {
    try {
      const server = await requireFit(this.client, this.#options.requirements, this.#earlier);
      if (session !== this.#session) return;
      if (!server || !isSameServer(session, server)) {
        this.#end();
        return;
      }
      this.#warnAboutUnchecked(server);
      session.isPaired = await this.#admit();
      await this.#readClock();
    } catch (error) {
      if (session !== this.#session) return;
      // A check without a result changes nothing: a slow server is no unfit one.
      if (error instanceof Fault && error.code === 'server_unfit') {
        this.#reportProblem(error);
        this.#unfitness = error.message;
        this.#options.metrics?.stoppedFitting();
        this.#end();
        return;
      }
    }
    if (isRepeated && session === this.#session) this.#checkLater(session);
  }

  async #readClock(): Promise<void> {
    await this.#clockWatch.read(this.client, addressOf(this.client.options));
  }

  /** Once for each text. */
  #warnAboutUnchecked({ unchecked }: FitServer): void {
    const reason = unchecked.join('; ');
    if (reason === this.#unchecked) return;
    this.#unchecked = reason;
    if (reason === '') return;
    const redis = addressOf(this.client.options);
    this.#options.log.warn({ redis, reason }, 'redis accepted, but not all of it could be checked');
  }

  /** A replica that the barrier does not wait for can still be promoted. */
  #warnAboutUnawaitedReplicas({ replicas, replicasConnected }: FitServer): void {
    if (replicas === 0 || replicasConnected <= replicas) return;
    this.#options.log.warn(
      { redis: addressOf(this.client.options), replicas, replicasConnected },
      `a reservation waits for ${replicas} of ${replicasConnected} replicas, and a replica without it may be promoted; set min-replicas-to-write ${replicasConnected} to wait for all`,
    );
  }

  /** Runs the action unless the connection is lost before. */
  #later(delayMs: number, action: () => void): void {
    const losses = this.#losses;
    setTimeout(() => {
      if (losses === this.#losses) action();
    }, delayMs).unref();
  }

  /** Logs each problem once, not once for each retry. Returns false if it was the last one logged. */
  #reportProblem(error: Error): boolean {
    const text = error.message || String((error as NodeJS.ErrnoException).code);
    // With sentinels, the delay in the message differs for each attempt.
    const message = text.replace(/ Retrying from scratch after \d+ms\./, '');
    if (message === this.#lastProblem) return false;
    this.#lastProblem = message;
    this.#options.log.warn(
      { redis: addressOf(this.client.options), reason: message },
      'redis unavailable, retrying',
    );
    return true;
  }
}

function isSameServer(one: FitServer, other: FitServer): boolean {
  return (
    one.runId === other.runId &&
    one.replicationId === other.replicationId &&
    one.replicas === other.replicas &&
    one.replicasLagMsMax === other.replicasLagMsMax
  );
}

export function faultCodeOf(error: unknown): FaultCode {
  if (hasPrefix(error, /^OOM\b/)) return 'out_of_memory';
  if (hasPrefix(error, NOT_EXECUTED)) return 'not_executed';
  if (hasPrefix(error, SCRIPT_FAILED)) return 'script_failed';
  return hasPrefix(error, /^Stream isn't writeable/) ? 'not_sent' : 'outcome_unknown';
}

/** Doubles up to half a second; the upper half is random. */
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
