/**
 * Sales made the short way: straight into PostgreSQL and, by the script that admin uses, into Redis. So a test of one
 * part needs no other part.
 */
import { randomBytes } from 'node:crypto';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { type ReserveOutcome, type ReserveRequest, reserve } from '../../src/lua/buy/reserve.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import { connectPostgres, type Sql } from '../../src/postgres/connection.ts';
import { createLogger } from '../../src/process/logger.ts';
import { Shards } from '../../src/redis/shards.ts';
import { eventually } from '../eventually.ts';

/** Connections of the test itself to both servers. */
export interface Connections {
  shards: Shards;
  sql: Sql;
  close(): Promise<void>;
}

export async function connect(redisUrl: string, postgresUrl: string): Promise<Connections> {
  const shards = new Shards({
    url: redisUrl,
    name: 'test',
    commandTimeoutMs: 5_000,
    requirements: { DURABILITY: 'fast', NODE_ENV: 'production' },
    log: createLogger('test', 'silent'),
    onUnfit: (fault) => {
      throw fault;
    },
  });
  const sql = connectPostgres(postgresUrl, { name: 'test', connectionsMax: 4 });
  await eventually(() => {
    if (!shards.isReady) throw new Error('redis is not ready');
  });
  return {
    shards,
    sql,
    close: async () => {
      shards.close();
      await sql.end({ timeout: 2 });
    },
  };
}

export interface SaleChoices extends Partial<SaleDefinition> {
  /** Of the sale's only SKU, `unit`. */
  stock?: number;
}

/** An open sale of one SKU that costs 1,000, one to a buyer. */
export async function makeSale(
  { shards, sql }: Pick<Connections, 'shards' | 'sql'>,
  choices: SaleChoices = {},
): Promise<SaleDefinition> {
  const { stock = 100_000, ...chosen } = choices;
  const definition: SaleDefinition = {
    saleId: `sale-${randomBytes(4).toString('hex')}`,
    name: 'A sale',
    currency: 'EUR',
    status: 'open',
    startsAt: null,
    endsAt: null,
    perBuyerLimit: 1,
    holdSeconds: 300,
    skus: [{ sku: 'unit', name: 'A unit', price: 1_000 }],
    ...chosen,
  };
  const { saleId } = definition;
  const changes = [{ sku: definition.skus[0]!.sku, delta: stock }];
  await sql`
    INSERT INTO sales (sale_id, name, currency, status, per_buyer_limit, hold_seconds, last_operation)
    VALUES (${saleId}, ${definition.name}, ${definition.currency}, ${definition.status},
      ${definition.perBuyerLimit}, ${definition.holdSeconds}, 1)`;
  await sql`
    INSERT INTO sale_skus (sale_id, sku, ordinal, name, price)
    SELECT ${saleId}, sku, ordinal, name, price
    FROM jsonb_to_recordset(${sql.json(definition.skus.map((sku, ordinal) => ({ ...sku, ordinal })))})
      AS t(sku text, ordinal integer, name text, price bigint)`;
  const operation = { operation: 1, timeline: 0, definition, changes };
  const reply = await shards.call(applyOperation, saleId, operation);
  if (reply.outcome !== 'applied') throw new Error(`the sale was not made: ${reply.outcome}`);
  // As admin does it, said to be applied only when it is: a persister would take the sale for one that Redis forgot.
  await sql`
    INSERT INTO sale_operations (sale_id, operation, action, definition, changes, outcome, actor, request_id)
    VALUES (${saleId}, 1, 'create', ${sql.json(JSON.parse(JSON.stringify(definition)))},
      ${sql.json(changes.map((change) => ({ ...change })))}, 'applied', 'test', 'test')`;
  await sql`
    INSERT INTO stock_ledger (sale_id, operation, sku, delta, outcome)
    VALUES (${saleId}, 1, ${changes[0]!.sku}, ${stock}, 'applied')`;
  return definition;
}

/** One call of `reserve`, so one entry in the stream, with a unit for each buyer. */
export async function buy(
  shards: Shards,
  saleId: string,
  buyerIds: readonly string[],
): Promise<ReserveOutcome[]> {
  const requests: ReserveRequest[] = buyerIds.map((buyerId) => ({
    buyerId,
    idempotencyKey: '',
    items: 'unit*1',
    requestId: `request-of-${buyerId}`,
    traceparent: '',
  }));
  const batch = { tag: randomBytes(4).toString('hex'), backlogMax: 2_000_000, requests };
  return shards.call(reserve, saleId, batch);
}

/** So many different buyers, `batchSize` to a call. Fails unless each gets a unit. */
export async function buyMany(
  shards: Shards,
  saleId: string,
  choices: { count: number; batchSize: number; prefix?: string },
): Promise<string[]> {
  const buyerIds = Array.from(
    { length: choices.count },
    (_, index) => `${choices.prefix ?? 'buyer'}-${index + 1}`,
  );
  for (let from = 0; from < buyerIds.length; from += choices.batchSize) {
    const batch = buyerIds.slice(from, from + choices.batchSize);
    for (const { outcome } of await buy(shards, saleId, batch)) {
      if (outcome !== 'reserved') throw new Error(`a purchase was answered ${outcome}`);
    }
  }
  return buyerIds;
}

/** What `reserve` answered, as the record and whose it is. */
export interface Bought {
  buyerId: string;
  record: string;
}

/** Appends what a transition would: the reservation's next version with another status, as an entry of its own. */
export async function appendTransition(
  shards: Shards,
  saleId: string,
  bought: Bought,
  choices: { status: 'C' | 'X' | 'E'; version?: number },
): Promise<string> {
  const [, , ...rest] = bought.record.split('\t');
  const line = [
    String(choices.version ?? 2),
    choices.status,
    ...rest,
    bought.buyerId,
    String(Date.now()),
    'by%20test',
    'request-of-transition',
    '',
  ].join('\t');
  return appendEntry(shards, saleId, { v: '1', c: 'EUR', d: line });
}

/** Any entry at all, numbered as the sale's next event. Returns its id. */
export async function appendEntry(
  shards: Shards,
  saleId: string,
  fields: Record<string, string>,
): Promise<string> {
  const { client } = shards.of(saleId);
  const number = await client.hincrby(saleKey(saleId, 'sale'), 'events', 1);
  const all = { s: String(number), ...fields };
  const entryId = await client.xadd(saleKey(saleId, 'events'), '*', ...Object.entries(all).flat());
  return String(entryId);
}
