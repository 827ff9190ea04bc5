/**
 * Redis and its database belong together. A process that finds another pair refuses to work: a persister on a copy of the
 * database would take over the decisions of the original one.
 *
 *   Redis has …                          then
 *   the identity of this database        it belongs
 *   another identity                     refused, until an operator runs `flash-sale migrate --adopt`
 *   none                                 the identity is written, unless one of these refuses:
 *                                          - this database is a copy of one that a Redis belongs to
 *                                          - this process was refused before: Redis lost its memory, not its database
 *                                          - another master of the cluster has another identity
 *                                          - Redis has sales that this database does not have, see stray-sales.ts
 *
 * Each connection asks when it connects to a server and with each check of it. Redis decides between two writers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Fault } from '../domain/fault.ts';
import { saleKey } from '../lua/keys.ts';
import type { Sql } from '../postgres/connection.ts';
import {
  type DatabaseIdentity,
  notePairing,
  readDatabaseIdentity,
} from '../postgres/database-identity.ts';
import { pause } from '../process/backoff.ts';
import {
  claimIdentity,
  completeIdentity,
  type IdentityPlace,
  readIdentity,
  type StoredIdentity,
} from '../redis/identity.ts';
import type { Admission, Shards } from '../redis/shards.ts';
import { findStraySale } from './stray-sales.ts';

interface PairingOptions {
  /** Runs a query on the database. */
  run: <T>(query: (sql: Sql) => Promise<T>) => Promise<T>;
  /** Whether a server must wait until the database is known; otherwise it is used, as not paired. */
  waits: boolean;
  log: Logger;
  /** Ends all waiting. */
  stopping?: AbortSignal;
}

/** A database that does not reply is still the one that was read before. */
const READ_MS_MAX = 1_000;
/** Before the first reply: merchants must not wait for PostgreSQL. Longer than a working server needs. */
const FIRST_READ_MS_MAX = 100;
/** Work that needs only PostgreSQL does not wait for an unavailable Redis for longer. */
const VERDICT_MS_MAX = 5_000;
const SALES_PER_READ = 200;

const ADOPT = `to make them belong together, for example after a backup was restored, stop the processes of the other database and run: flash-sale migrate --adopt`;

export class Pairing implements Admission {
  readonly #options: PairingOptions;
  #own: DatabaseIdentity | undefined;
  #reading: Promise<void> | undefined;
  /** By key of the identity. */
  readonly #refusals = new Map<string, string>();
  readonly #incomplete = new Map<string, IdentityPlace>();
  #wasForeign = false;
  readonly #verdict = Promise.withResolvers<void>();

  constructor(options: PairingOptions) {
    this.#options = options;
    const { stopping = new AbortController().signal } = options;
    void pause(VERDICT_MS_MAX, stopping).then(() => this.#verdict.resolve());
  }

  /** Why this process must not work. Undefined: the servers belong together, or it is not known yet. */
  get refusal(): string | undefined {
    return [...this.#refusals.values()][0];
  }

  /** Whether this process may work with its database. Waits some seconds for the first reply of Redis. */
  async mayWork(): Promise<boolean> {
    await this.#verdict.promise;
    return this.refusal === undefined && this.#options.stopping?.aborted !== true;
  }

  async admit(place: IdentityPlace, others: () => Promise<StoredIdentity[]>): Promise<boolean> {
    const own = await this.#readOwn();
    if (own === undefined) {
      if (this.#options.waits) throw new Fault('not_sent', 'the database is not known yet');
      return false;
    }
    const { identity, pairedAs } = own;
    const stored = (await readIdentity(place)) ?? (await this.#claim(place, own, others));
    if (stored.database !== identity) {
      this.#wasForeign = true;
      throw this.#refuse(
        place,
        `Redis belongs to another database (${stored.database}) than this one (${identity})`,
      );
    }
    if (pairedAs !== identity) {
      await this.#options.run((sql) => notePairing(sql, identity));
      own.pairedAs = identity;
    }
    this.#refusals.delete(place.key);
    if (stored.isComplete) this.#incomplete.delete(place.key);
    else this.#incomplete.set(place.key, place);
    this.#verdict.resolve();
    return true;
  }

  /**
   * Notes in each server that it has every sale, once it has: from then on, a sale that it does not have does not exist.
   * Until then, hot paths respond `recovering`.
   */
  async complete(shards: Shards): Promise<void> {
    if (this.#incomplete.size === 0) return;
    for (const [key, place] of this.#incomplete) {
      const stored = await readIdentity(place);
      if (!stored || stored.database !== this.#own?.identity) continue;
      if (!stored.isComplete && (await this.#isMissingSales(place, shards))) continue;
      await completeIdentity(place, stored.claim);
      this.#incomplete.delete(key);
    }
  }

  /** Undefined: PostgreSQL has never replied. */
  async #readOwn(): Promise<DatabaseIdentity | undefined> {
    const { waits } = this.#options;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    if (this.#own === undefined && waits) await this.#reading;
    else {
      const mostMs = this.#own === undefined ? FIRST_READ_MS_MAX : READ_MS_MAX;
      await Promise.race([this.#reading, sleep(mostMs, undefined, { ref: false })]);
    }
    return this.#own;
  }

  async #read(): Promise<void> {
    // Without a reply, the database is the one of the last reply.
    this.#own = await this.#options.run(readDatabaseIdentity).catch(() => this.#own);
  }

  async #claim(
    place: IdentityPlace,
    { identity, pairedAs }: DatabaseIdentity,
    others: () => Promise<StoredIdentity[]>,
  ): Promise<StoredIdentity> {
    if (pairedAs !== null && pairedAs !== identity)
      throw this.#refuse(
        place,
        `this database (${identity}) is a copy of the one that a Redis belongs to (${pairedAs})`,
      );
    if (this.#wasForeign)
      throw this.#refuse(place, 'Redis belonged to another database and has lost its memory');
    const [other] = await others();
    // Another one also counts for the whole cluster.
    if (other && other.database !== identity) return other;
    const stray = other ? undefined : await findStraySale(place.client, this.#options.run);
    if (stray) throw this.#refuse(place, stray);
    this.#options.log.info({ identity }, 'redis adopted by this database');
    return claimIdentity(place, identity);
  }

  #refuse({ key }: IdentityPlace, reason: string): Fault {
    const text = `This database does not belong to this Redis, so nothing is done: ${reason}; correct REDIS_URL or DATABASE_URL, or, ${ADOPT}`;
    this.#refusals.set(key, text);
    this.#verdict.resolve();
    return new Fault('server_unfit', text);
  }

  async #isMissingSales({ client }: IdentityPlace, shards: Shards): Promise<boolean> {
    const sales = await this.#options.run(
      (sql) => sql<{ saleId: string }[]>`
        SELECT sale_id FROM sales WHERE archived_at IS NULL AND (
          EXISTS (SELECT FROM checkpoints WHERE checkpoints.sale_id = sales.sale_id) OR EXISTS (
            SELECT FROM sale_operations
            WHERE sale_operations.sale_id = sales.sale_id AND outcome <> 'pending'))`,
    );
    const saleIds = sales
      .map(({ saleId }) => saleId)
      .filter((saleId) => shards.of(saleId).client === client);
    for (let i = 0; i < saleIds.length; i += SALES_PER_READ) {
      const page = saleIds.slice(i, i + SALES_PER_READ);
      const found = await Promise.all(page.map((id) => client.exists(saleKey(id, 'sale'))));
      if (found.includes(0)) return true;
    }
    return false;
  }
}
