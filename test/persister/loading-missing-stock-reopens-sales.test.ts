/**
 * A sale of which more was promised than is loaded stays closed until an operator loads what is missing, and opens by
 * that load, whatever was recorded before it.
 */
import assert from 'node:assert/strict';
import { beforeEach, describe, it, type TestContext } from 'node:test';
import { callAdmin, useApp } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { makeSale, type SaleChoices } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { type Connections, useServers } from '../../harness/servers/connections.ts';
import type { TestDatabase } from '../../harness/servers/postgres.ts';
import type { TestRedis } from '../../harness/servers/redis.ts';
import { repairRound } from '../../src/admin/sales/pending-repairer.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { createLogger } from '../../src/process/logger.ts';
import { verifySale } from '../../src/verify/verify.ts';

const log = createLogger('test', 'silent');

interface Recorded {
  /** Undefined: none of the stock changes. */
  delta?: number;
  outcome?: 'applied';
  definition?: Partial<SaleDefinition>;
}

describe('what is missing is loaded', () => {
  let redis: TestRedis;
  let database: TestDatabase;
  let servers: Connections;

  beforeEach(async (test) => {
    assert.ok('after' in test);
    ({ redis, database, servers } = await useServers(test));
  });

  /** As admin records them, all at once, without Redis' hearing of it. */
  async function record(sale: SaleDefinition, operations: readonly Recorded[]): Promise<void> {
    const { saleId } = sale;
    await servers.sql.begin(async (tx) => {
      for (const { delta, outcome = 'pending', definition } of operations) {
        const whole = tx.json({ ...sale, ...definition } as never);
        const changes = tx.json(delta === undefined ? [] : [{ sku: 'unit', delta }]);
        const [row] = await tx<{ operation: number }[]>`
          UPDATE sales SET last_operation = last_operation + 1,
            starts_at = to_timestamp((${whole}::jsonb->>'startsAt')::bigint / 1000.0)
          WHERE sale_id = ${saleId} RETURNING last_operation AS operation`;
        const { operation } = row!;
        await tx`
          INSERT INTO sale_operations (sale_id, operation, action, definition, changes, outcome, actor, request_id)
          VALUES (${saleId}, ${operation}, 'test', ${whole}, ${changes}, ${outcome}, 'test', 'test')`;
        if (delta === undefined) continue;
        await tx`
          INSERT INTO stock_ledger (sale_id, operation, sku, delta, outcome)
          VALUES (${saleId}, ${operation}, 'unit', ${delta}, ${outcome})`;
      }
    });
  }

  /** Of every operation, as the ledger has it, too. */
  async function outcomes(saleId: string): Promise<string[]> {
    const rows = await servers.sql<{ outcome: string; inLedger: string }[]>`
      SELECT o.outcome, l.outcome AS in_ledger FROM sale_operations o
      JOIN stock_ledger l USING (sale_id, operation)
      WHERE sale_id = ${saleId} ORDER BY operation`;
    for (const { outcome, inLedger } of rows) assert.equal(inLedger, outcome);
    return rows.map(({ outcome }) => outcome);
  }

  async function untilOpen(saleId: string): Promise<void> {
    await eventually(async () => {
      const reply = await servers.shards.call(readSale, saleId);
      assert.equal(reply.outcome, 'known');
    });
  }

  async function untilWhy(saleId: string, why: RegExp): Promise<void> {
    await eventually(async () => {
      const [row] = await servers.sql<{ why: string | null }[]>`
        SELECT report->>'why' AS why FROM sale_recoveries
        WHERE sale_id = ${saleId} ORDER BY recovery_id DESC LIMIT 1`;
      assert.match(row?.why ?? '', why);
    });
  }

  async function assertVerified(saleId: string): Promise<void> {
    const { checks } = await verifySale(servers, saleId);
    assert.deepEqual(
      checks.filter(({ ok }) => !ok),
      [],
    );
  }

  /** 10 were sold, 8 are loaded: what made up for the withdrawal was forgotten. */
  async function blockedSale(test: TestContext, choices: SaleChoices = {}) {
    const sale = await makeSale(servers, { ...choices, stock: 10 });
    const { saleId } = sale;
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await eventually(async () => {
      const rows = await servers.sql`SELECT FROM reservations WHERE sale_id = ${saleId}`;
      assert.equal(rows.length, 10);
    });
    await record(sale, [{ delta: -2, outcome: 'applied' }]);
    await servers.shards.of(saleId).client.flushall();
    await untilWhy(saleId, /unit: 10 of 8\): load what is missing/);
    return sale;
  }

  it('by an operator who has ended it first', async (test) => {
    const { saleId } = await blockedSale(test);
    const app = await useApp(test, servers);
    const end = await callAdmin(app, `POST /sales/${saleId}/end`);
    assert.deepEqual([end.status, end.body.code], [503, 'recovering']);
    const load = (delta: number) => {
      const headers = { 'idempotency-key': `load-${delta}` };
      return callAdmin(app, `POST /sales/${saleId}/stock`, {
        body: { sku: 'unit', delta },
        headers,
      });
    };
    assert.equal((await load(1)).status, 503);
    await untilWhy(saleId, /unit: 10 of 9\)/);
    assert.equal((await load(2)).status, 503);
    await untilOpen(saleId);
    const { definition, operation, stock } = await saleState(servers.shards, saleId);
    assert.deepEqual([definition.status, operation], ['ended', 5]);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining], [11, 1]);
    const again = await load(2);
    assert.deepEqual([again.status, again.headers['idempotent-replayed']], [200, 'true']);
    await assertVerified(saleId);
  });

  it('by the shortest run that does, and the rest is applied when it is open', async (test) => {
    const sale = await blockedSale(test);
    const { saleId } = sale;
    await record(sale, [{ delta: 1 }, { delta: -1 }, { delta: 1 }, { delta: 5 }, { delta: -1 }]);
    await untilOpen(saleId);
    const settled = ['applied', 'applied', 'applied', 'insufficient_stock', 'applied'];
    assert.deepEqual(await outcomes(saleId), [...settled, 'pending', 'pending']);
    const { stock, operation } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining, operation], [10, 0, 5]);
    await repairRound({ ...servers, log });
    assert.deepEqual(await outcomes(saleId), [...settled, 'applied', 'applied']);
    assert.equal((await saleState(servers.shards, saleId)).stock[0]?.loaded, 14);
    await assertVerified(saleId);
  });

  it('and it is not put off any more', async (test) => {
    const startsAt = Date.now() - 60_000;
    const sale = await blockedSale(test, { startsAt });
    const { saleId } = sale;
    const definition = { startsAt: startsAt + 3_600_000 };
    await record(sale, [{ definition }, { definition, delta: 3 }]);
    await untilOpen(saleId);
    assert.equal((await saleState(servers.shards, saleId)).definition.startsAt, startsAt);
    const [answer] = await buy(servers.shards, saleId, ['next']);
    assert.equal(answer?.outcome, 'reserved');
    const recorded = await servers.sql`
      SELECT (definition->>'startsAt')::bigint AS starts_at FROM sale_operations
      WHERE sale_id = ${saleId} ORDER BY operation`;
    assert.deepEqual(
      recorded.map((row) => row.startsAt as number),
      [startsAt, startsAt, startsAt, startsAt],
    );
    const [stored] = await servers.sql`SELECT starts_at FROM sales WHERE sale_id = ${saleId}`;
    assert.equal((stored!.startsAt as Date).getTime(), startsAt);
    const told = await servers.sql`
      SELECT FROM audit_log WHERE sale_id = ${saleId} AND action = 'start_kept'`;
    assert.equal(told.length, 2);
  });
});
