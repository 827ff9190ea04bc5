/** Steps and checks that the tests of recovery share, on the state of a closed sale in Redis and PostgreSQL. */
import assert from 'node:assert/strict';
import { REBUILD_KEYS, saleKey } from '../../src/lua/keys.ts';
import type { SaleOperation } from '../../src/lua/operate/apply-operation.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { untilIncreased } from '../engine/metrics.ts';
import { eventually } from '../eventually.ts';
import type { Connections } from '../servers/connections.ts';
import { recordOperation } from './sales.ts';

/** Waits until the sale is open in Redis. */
export async function untilOpen(
  { shards }: Pick<Connections, 'shards'>,
  saleId: string,
): Promise<void> {
  await eventually(async () => {
    assert.equal((await shards.call(readSale, saleId)).outcome, 'known');
  });
}

export async function requestRecovery({ sql }: Pick<Connections, 'sql'>, saleId: string) {
  await sql`
    WITH requested AS (
      INSERT INTO sale_recoveries (sale_id, actor, request_id, state)
      VALUES (${saleId}, 'operator', 'r-1', 'requested') RETURNING *)
    INSERT INTO audit_log (actor, action, sale_id, request_id, details)
    SELECT actor, 'request-recovery', sale_id, request_id, jsonb_build_object('recoveryId', recovery_id) FROM requested`;
}

export interface RecoveryRow {
  actor: string;
  outcome: string | null;
  cause: string | null;
  /** Why a blocked recovery could not open the sale. */
  why: string | null;
}

/** What each recovery of the sale reported, oldest first. */
export async function recoveriesOf(
  { sql }: Pick<Connections, 'sql'>,
  saleId: string,
): Promise<RecoveryRow[]> {
  const rows = await sql<RecoveryRow[]>`
    SELECT actor, outcome, report->>'cause' AS cause, report->>'why' AS why FROM sale_recoveries
    WHERE sale_id = ${saleId} ORDER BY recovery_id`;
  return rows.map((row) => ({ ...row }));
}

/** Waits until the newest recovery of the sale reports this reason. */
export async function untilBlocked(
  servers: Pick<Connections, 'sql'>,
  saleId: string,
  why: RegExp,
): Promise<void> {
  await eventually(async () => {
    assert.match((await recoveriesOf(servers, saleId)).at(-1)?.why ?? '', why);
  });
}

/** A rebuild would lose the event of an unresolved dead letter, so it is blocked. */
export async function addDeadLetter(
  { sql }: Pick<Connections, 'sql'>,
  saleId: string,
): Promise<void> {
  await sql`
    INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
    VALUES (${saleId}, '1-1', 3, 'EUR', '-', 'a test')`;
}

/** Scripts that the server of the sale has run for all clients. An increase shows that a process checked the sale. */
export async function scriptCalls(
  { shards }: Pick<Connections, 'shards'>,
  saleId: string,
): Promise<number> {
  const stats = await shards.of(saleId).client.info('commandstats');
  const calls = stats.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm);
  return [...calls].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Waits until `count` more scripts have run, to show that they changed nothing. */
export async function untilScriptsRan(
  servers: Pick<Connections, 'shards'>,
  saleId: string,
  count: number,
): Promise<void> {
  await untilIncreased(() => scriptCalls(servers, saleId), count);
}

/** The keys of an unfinished rebuild in Redis, named without the sale. */
export async function stagedKeys(
  { shards }: Pick<Connections, 'shards'>,
  saleId: string,
): Promise<string[]> {
  const { client } = shards.of(saleId);
  const found = await Promise.all(REBUILD_KEYS.map((key) => client.exists(saleKey(saleId, key))));
  return REBUILD_KEYS.filter((_, index) => found[index] === 1);
}

/** Records a change of stock as admin does, without applying it in Redis. */
export async function recordStockChange(
  { sql }: Pick<Connections, 'sql'>,
  saleId: string,
  change: { operation: number; delta: number; outcome: 'applied' | 'pending' },
): Promise<void> {
  const { operation, delta, outcome } = change;
  const { definition } = await firstOperationOf({ sql }, saleId);
  const changes = [{ sku: 'unit', delta }];
  await sql.begin((tx) =>
    recordOperation(tx, { operation, action: 'load', definition, changes, outcome }),
  );
}

/** The operation that created the sale, to apply it in Redis again. */
export async function firstOperationOf(
  { sql }: Pick<Connections, 'sql'>,
  saleId: string,
): Promise<Pick<SaleOperation, 'definition' | 'changes'>> {
  const [row] = await sql<Pick<SaleOperation, 'definition' | 'changes'>[]>`
    SELECT definition, changes FROM sale_operations WHERE sale_id = ${saleId} AND operation = 1`;
  return row!;
}

/** Waits until a persister is connected to Redis and has run a command after its handshake. */
export async function untilPersisterConnected({
  shards,
}: Pick<Connections, 'shards'>): Promise<void> {
  await eventually(async () => {
    const clients = (await shards.of('any').client.client('LIST')) as string;
    assert.match(clients, /name=flash-sale-persister .*cmd=(?!client|info)/);
  });
}
