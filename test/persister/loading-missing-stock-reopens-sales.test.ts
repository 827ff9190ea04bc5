/**
 * A sale with more units sold than loaded stays closed until an operator loads the missing units. That load opens it,
 * whatever was recorded before.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { callAdmin, useApp } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { untilBlocked, untilOpen } from '../../harness/sales/recovery.ts';
import { assertPromisesHold, untilRows } from '../../harness/sales/reservations.ts';
import { makeSale, recordOperation, type SaleChoices } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { type Connections, useServers } from '../../harness/servers/connections.ts';
import { repairRound } from '../../src/admin/sales/pending-repairer.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { createLogger } from '../../src/process/logger.ts';

const log = createLogger('test', 'silent');

interface Recorded {
  /** Undefined: the stock does not change. */
  delta?: number;
  outcome?: 'applied';
  definition?: Partial<SaleDefinition>;
}

describe('a sale with more units sold than loaded', () => {
  /** Records operations as admin does, in one transaction, without applying them in Redis. */
  async function record(
    { sql }: Connections,
    sale: SaleDefinition,
    operations: readonly Recorded[],
  ): Promise<void> {
    const { saleId } = sale;
    await sql.begin(async (tx) => {
      for (const { delta, outcome = 'pending', definition } of operations) {
        const [row] = await tx<{ operation: number }[]>`
          SELECT last_operation + 1 AS operation FROM sales WHERE sale_id = ${saleId}`;
        await recordOperation(tx, {
          operation: row!.operation,
          action: 'test',
          definition: { ...sale, ...definition },
          changes: delta === undefined ? [] : [{ sku: 'unit', delta }],
          outcome,
        });
      }
    });
  }

  /** The outcome of each operation. Fails unless the ledger has the same. */
  async function outcomes({ sql }: Connections, saleId: string): Promise<string[]> {
    const rows = await sql<{ outcome: string; inLedger: string }[]>`
      SELECT o.outcome, l.outcome AS in_ledger FROM sale_operations o
      JOIN stock_ledger l USING (sale_id, operation)
      WHERE sale_id = ${saleId} ORDER BY operation`;
    for (const { outcome, inLedger } of rows) assert.equal(inLedger, outcome);
    return rows.map(({ outcome }) => outcome);
  }

  /** 10 units are sold and 8 loaded: Redis lost the load that followed a withdrawal. */
  async function blockedSale(test: TestContext, choices: () => SaleChoices = () => ({})) {
    const { redis, database, servers } = await useServers(test);
    const sale = await makeSale(servers, { ...choices(), stock: 10 });
    const { saleId } = sale;
    await usePersister(test, redis.url, database.url);
    await buyMany(servers.shards, saleId, { count: 10, batchSize: 5 });
    await untilRows(servers, saleId, 10);
    await record(servers, sale, [{ delta: -2, outcome: 'applied' }]);
    await servers.shards.of(saleId).client.flushall();
    await untilBlocked(servers, saleId, /unit: 10 of 8\): load the missing units/);
    return { sale, servers };
  }

  it('is opened by an operator who has ended it before the load', async (test) => {
    const { sale, servers } = await blockedSale(test);
    const { saleId } = sale;
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
    await untilBlocked(servers, saleId, /unit: 10 of 9\)/);
    // 200 if the recovery has included the load before the response.
    assert.ok([200, 503].includes((await load(2)).status));
    await untilOpen(servers, saleId);
    const { definition, operation, stock } = await saleState(servers.shards, saleId);
    assert.deepEqual([definition.status, operation], ['ended', 5]);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining], [11, 1]);
    const again = await load(2);
    assert.deepEqual([again.status, again.headers['idempotent-replayed']], [200, 'true']);
    await assertPromisesHold(servers, saleId);
  });

  it('is opened by the fewest pending operations that suffice, and the others are applied later', async (test) => {
    const { sale, servers } = await blockedSale(test);
    const { saleId } = sale;
    await record(servers, sale, [
      { delta: 1 },
      { delta: -1 },
      { delta: 1 },
      { delta: 5 },
      { delta: -1 },
    ]);
    await untilOpen(servers, saleId);
    const settled = ['applied', 'applied', 'applied', 'insufficient_stock', 'applied'];
    assert.deepEqual(await outcomes(servers, saleId), [...settled, 'pending', 'pending']);
    const { stock, operation } = await saleState(servers.shards, saleId);
    assert.deepEqual([stock[0]?.loaded, stock[0]?.remaining, operation], [10, 0, 5]);
    await repairRound({ ...servers, log });
    assert.deepEqual(await outcomes(servers, saleId), [...settled, 'applied', 'applied']);
    assert.equal((await saleState(servers.shards, saleId)).stock[0]?.loaded, 14);
    await assertPromisesHold(servers, saleId);
  });

  it('keeps its start, though a later one was recorded', async (test) => {
    const startsAt = Date.now() - 60_000;
    const { sale, servers } = await blockedSale(test, () => ({ startsAt }));
    const { saleId } = sale;
    const definition = { startsAt: startsAt + 3_600_000 };
    await record(servers, sale, [{ definition }, { definition, delta: 3 }]);
    await untilOpen(servers, saleId);
    assert.equal((await saleState(servers.shards, saleId)).definition.startsAt, startsAt);
    const [reply] = await buy(servers.shards, saleId, ['next']);
    assert.equal(reply?.outcome, 'reserved');
    const recorded = await servers.sql`
      SELECT (definition->>'startsAt')::bigint AS starts_at FROM sale_operations
      WHERE sale_id = ${saleId} ORDER BY operation`;
    assert.deepEqual(
      recorded.map((row) => row.startsAt as number),
      [startsAt, startsAt, startsAt, startsAt],
    );
    const [stored] = await servers.sql`SELECT starts_at FROM sales WHERE sale_id = ${saleId}`;
    assert.equal((stored!.startsAt as Date).getTime(), startsAt);
    const audited = await servers.sql`
      SELECT FROM audit_log WHERE sale_id = ${saleId} AND action = 'start_kept'`;
    assert.equal(audited.length, 2);
  });

  it('keeps an end that has passed, though a later one was recorded', async (test) => {
    // Counted from when the servers run.
    const { sale, servers } = await blockedSale(test, () => ({ endsAt: Date.now() + 3_000 }));
    const { saleId } = sale;
    const endsAt = sale.endsAt!;
    await eventually(() => assert.ok(Date.now() > endsAt));
    const later = { endsAt: endsAt + 3_600_000 };
    // The load contains the later end too, because it was recorded after it.
    await record(servers, sale, [{ definition: later }, { definition: later, delta: 3 }]);
    await untilOpen(servers, saleId);
    assert.equal((await buy(servers.shards, saleId, ['late']))[0]?.outcome, 'sale_ended');
    const recorded = await servers.sql<{ outcome: string; endsAt: number }[]>`
      SELECT outcome, (definition->>'endsAt')::bigint AS ends_at FROM sale_operations
      WHERE sale_id = ${saleId} ORDER BY operation`;
    assert.deepEqual(
      recorded.map(({ outcome }) => outcome),
      ['applied', 'applied', 'sale_ended', 'applied'],
    );
    assert.ok(recorded.every((operation) => operation.endsAt === endsAt));
    const [stored] = await servers.sql`SELECT ends_at FROM sales WHERE sale_id = ${saleId}`;
    assert.equal((stored!.endsAt as Date).getTime(), endsAt);
    await assertPromisesHold(servers, saleId);
  });
});
