/** What Redis and PostgreSQL hold of a sale at the end, read without the proxies. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { isBuyerIndex } from '../src/domain/buyer-index.ts';
import type { OwnItem, Reservation, ReservationStatus } from '../src/domain/reservation.ts';
import { parseRecords } from '../src/domain/reservation-codec.ts';
import { isShortRecord, termsFieldOf, wholeRecord } from '../src/domain/short-record.ts';
import { saleKey } from '../src/lua/keys.ts';
import { connectPostgres, type Sql } from '../src/postgres/connection.ts';
import type { Topology } from './topologies/topology.ts';

export interface Row {
  reservationId: string;
  buyerId: string;
  status: ReservationStatus;
  items: readonly OwnItem[];
  position: number;
  version: number;
  idempotencyKey: string;
  reservedAt: Date;
  expiresAt: Date;
  requestId: string;
}

export interface EventRow {
  reservationId: string;
  version: number;
  event: number;
  status: ReservationStatus;
  occurredAt: Date;
  detail: string;
  requestId: string;
}

interface LedgerRow {
  /** The number of the operator's change. Null: an event took the units out of the sale. */
  operation: number | null;
  event: number | null;
  sku: string;
  delta: number;
  outcome: 'pending' | 'applied' | 'insufficient_stock' | 'sale_ended';
  idempotencyKey: string | null;
}

export interface RedisSnapshot {
  /** Fields of the sale's hash. */
  sale: Record<string, string>;
  /** `<sku>:<count>`. */
  stock: Record<string, number>;
  reservations: Reservation[];
  /** The buyers at positions 1, 2, …. */
  order: string[];
  waiting: number;
  holds: number;
}

export interface PostgresSnapshot {
  rows: Row[];
  /** By event number. */
  events: EventRow[];
  ledger: LedgerRow[];
  checkpointEvent: number;
  /** The end of the sale; null: none. */
  endsAtMs: number | null;
  /** The reason of each. */
  deadLetters: string[];
  /** When the sale was archived; null: it was not. */
  archivedAtMs: number | null;
  /** Confirmed units by SKU, as PostgreSQL counts them in an archived sale. */
  archivedConfirmed: Record<string, number>;
}

export interface ServerSnapshot {
  redis: RedisSnapshot;
  postgres: PostgresSnapshot;
}

const POLL_MS = 50;

/** The suite's own connections. */
export class Inspector {
  readonly #topology: Topology;
  readonly #sql: Sql;

  constructor(redis: Topology, postgresUrl: string) {
    this.#topology = redis;
    this.#sql = connectPostgres(postgresUrl, { process: 'chaos', connectionsMax: 2 });
  }

  /**
   * Why a sale is not at rest: held units, units that a waiting buyer may get, or decisions not in PostgreSQL. Undefined:
   * it is at rest. A join that a broken link delivers late may leave a buyer in the waitlist.
   */
  async pendingWork(saleId: string): Promise<string | undefined> {
    const redis = await this.#redis();
    const info = await redis.info('server');
    const runId = /^run_id:(\w+)/m.exec(info)?.[1];
    // One transaction, because a hold that expires between two reads would be missing in both.
    const replies = await redis
      .multi()
      .hgetall(saleKey(saleId, 'sale'))
      .hgetall(saleKey(saleId, 'stock'))
      .exec();
    const [sale, stock] = replies!.map(([, reply]) => reply) as Record<string, string>[];
    if (sale!.status === 'archived') return undefined;
    if (sale!.fence !== runId) return 'the sale is closed: its fence is of another server';
    for (const [field, count] of Object.entries(stock!)) {
      const [sku, name] = field.split(':');
      const isPending =
        name === 'held' ||
        (name === 'waiting' && isSelling(sale!) && Number(stock![`${sku}:remaining`]) > 0);
      if (isPending && Number(count) > 0) return `${field} is ${count}`;
    }
    if (sale!.drained !== sale!.events) {
      return `${sale!.drained} of ${sale!.events} events are drained`;
    }
    const [row] = await this.#sql<{ pending: number }[]>`
      SELECT count(*)::bigint AS pending FROM sale_operations
      WHERE sale_id = ${saleId} AND outcome = 'pending'`;
    return row!.pending > 0 ? `${row!.pending} operations are pending` : undefined;
  }

  /** Undefined: it came to rest. Otherwise the last reason why it did not. */
  async waitForRest(saleId: string, msMax: number): Promise<string | undefined> {
    const deadlineMs = performance.now() + msMax;
    for (;;) {
      const why = await this.pendingWork(saleId).catch(
        (error: unknown) => `the servers cannot be read: ${String(error)}`,
      );
      if (why === undefined || performance.now() > deadlineMs) return why;
      await sleep(POLL_MS);
    }
  }

  /** Waits until PostgreSQL has what Redis has when it can first be read, or until the time is over. */
  async untilWhole(saleId: string, msMax: number): Promise<void> {
    const deadlineMs = performance.now() + msMax;
    let inRedis: Record<string, string> | undefined;
    while (performance.now() < deadlineMs) {
      inRedis ??= await this.#readSale(saleId).catch(() => undefined);
      if (inRedis && (await this.#hasAll(saleId, inRedis))) return;
      await sleep(POLL_MS);
    }
  }

  /** Whether PostgreSQL has all decisions of Redis. */
  async isDrained(saleId: string): Promise<boolean> {
    const sale = await this.#readSale(saleId);
    return sale.drained === sale.events;
  }

  /** Whether persisters have read all events from the stream. */
  async isDelivered(saleId: string): Promise<boolean> {
    const key = saleKey(saleId, 'events');
    const redis = await this.#redis();
    const [[newest], groups] = await Promise.all([
      redis.xrevrange(key, '+', '-', 'COUNT', 1),
      redis.xinfo('GROUPS', key) as Promise<unknown[][]>,
    ]);
    const delivered = groups[0]?.[groups[0].indexOf('last-delivered-id') + 1];
    return newest === undefined || delivered === newest[0];
  }

  async read(saleId: string): Promise<ServerSnapshot> {
    return { redis: await this.#readRedis(saleId), postgres: await this.#readPostgres(saleId) };
  }

  async close(): Promise<void> {
    await this.#sql.end({ timeout: 1 });
  }

  async #readSale(saleId: string): Promise<Record<string, string>> {
    return (await this.#redis()).hgetall(saleKey(saleId, 'sale'));
  }

  /** Whether PostgreSQL has what Redis had; false if it does not respond. */
  async #hasAll(
    saleId: string,
    { events = '0', operation = '0' }: Record<string, string>,
  ): Promise<boolean> {
    const rows = await this.#sql<{ isWhole: boolean }[]>`
      SELECT checkpoints.event >= ${Number(events)} AND last_operation >= ${Number(operation)} AS is_whole
      FROM sales JOIN checkpoints USING (sale_id) WHERE sale_id = ${saleId}`.catch(() => []);
    return rows[0]?.isWhole === true;
  }

  /** The suite's connection to the server that has the sale. */
  async #redis(): Promise<Redis> {
    return (await this.#topology.master()).client;
  }

  async #readRedis(saleId: string): Promise<RedisSnapshot> {
    const redis = await this.#redis();
    const replies = await redis
      .multi()
      .hgetall(saleKey(saleId, 'sale'))
      .hgetall(saleKey(saleId, 'stock'))
      .hgetall(saleKey(saleId, 'buyers'))
      .hgetall(saleKey(saleId, 'past'))
      .hgetall(saleKey(saleId, 'terms'))
      .lrange(saleKey(saleId, 'order'), 0, -1)
      .hlen(saleKey(saleId, 'waiting'))
      .zcard(saleKey(saleId, 'holds'))
      .exec();
    const [sale, stock, buyers, past, terms, order, waiting, holds] = replies!.map(
      ([, reply]) => reply,
    ) as [
      Record<string, string>,
      Record<string, string>,
      Record<string, string>,
      Record<string, string>,
      Record<string, string>,
      string[],
      number,
      number,
    ];
    const ofSale = { saleId, currency: sale.currency ?? '' };
    return {
      sale,
      stock: Object.fromEntries(
        Object.entries(stock).map(([field, count]) => [field, Number(count)]),
      ),
      reservations: [...Object.entries(buyers), ...Object.entries(past)].flatMap(
        ([field, records]) => {
          const [buyerId, position] = field.split('\t') as [string, string?];
          // Merchant notes have no buyer, and keys no position.
          if (buyerId === '' || position === '' || isBuyerIndex(records)) return [];
          const whole = isShortRecord(records)
            ? wholeRecord(records, terms[termsFieldOf(records) ?? ''])
            : records;
          return parseRecords(whole, ofSale, buyerId);
        },
      ),
      order,
      waiting,
      holds,
    };
  }

  async #readPostgres(saleId: string): Promise<PostgresSnapshot> {
    const sql = this.#sql;
    const [rows, events, ledger, checkpoints, letters, sales, skus] = await Promise.all([
      sql<Row[]>`
        SELECT reservation_id, buyer_id, status, items, position, version, idempotency_key, reserved_at, expires_at,
          request_id FROM reservations WHERE sale_id = ${saleId} ORDER BY position`,
      sql<EventRow[]>`
        SELECT reservation_id, version, event, status, occurred_at, detail, request_id
        FROM reservation_history WHERE sale_id = ${saleId} ORDER BY event`,
      sql<LedgerRow[]>`
        SELECT operation, event, sku, delta, stock_ledger.outcome, idempotency_key
        FROM stock_ledger LEFT JOIN sale_operations USING (sale_id, operation) WHERE sale_id = ${saleId}`,
      sql<{ event: number }[]>`SELECT event FROM checkpoints WHERE sale_id = ${saleId}`,
      sql<{ reason: string }[]>`SELECT reason FROM dead_letters WHERE sale_id = ${saleId}`,
      sql<{ endsAt: Date | null; archivedAt: Date | null }[]>`
        SELECT ends_at, archived_at FROM sales WHERE sale_id = ${saleId}`,
      sql<{ sku: string; units: number }[]>`
        SELECT sku, coalesce(archived_confirmed, 0)::bigint AS units FROM sale_skus WHERE sale_id = ${saleId}`,
    ]);
    return {
      rows,
      events,
      ledger,
      checkpointEvent: checkpoints[0]?.event ?? 0,
      endsAtMs: sales[0]?.endsAt?.getTime() ?? null,
      deadLetters: letters.map(({ reason }) => reason),
      archivedAtMs: sales[0]?.archivedAt?.getTime() ?? null,
      archivedConfirmed: Object.fromEntries(skus.map(({ sku, units }) => [sku, units])),
    };
  }
}

function isSelling({ status, endsAt }: Record<string, string>): boolean {
  return status === 'open' && (!endsAt || Number(endsAt) > Date.now());
}
