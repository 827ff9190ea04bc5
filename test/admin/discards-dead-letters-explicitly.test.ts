/**
 * An operator discards a dead letter that can never be written, with a reason. Only its event is lost: the history
 * continues, no unit is sold twice, and checks report what is missing.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { stateInRedis, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy, buyMany } from '../../harness/sales/purchases.ts';
import { untilBlocked, untilOpen } from '../../harness/sales/recovery.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { appendEntry } from '../../harness/sales/stream.ts';
import { rejectRowsUnless } from '../../harness/servers/postgres-faults.ts';
import { FILE } from '../../harness/use.ts';
import { readBuyer } from '../../src/lua/read/read-buyer.ts';
import { verifySale } from '../../src/verify/verify.ts';

const PATIENCE = { catchUpMs: 2_000, repeats: 2, pauseMs: 100 };
const POISON = "buyer_id <> 'poison'";

const admin = await useAdmin(FILE);

describe('a discarded dead letter', () => {
  async function lettersOf(saleId: string): Promise<number[]> {
    const rows = await admin.sql<{ deadLetterId: number }[]>`
      SELECT dead_letter_id FROM dead_letters WHERE sale_id = ${saleId} ORDER BY dead_letter_id`;
    return rows.map(({ deadLetterId }) => deadLetterId);
  }

  async function makeLetter(event: number): Promise<number> {
    const [row] = await admin.sql<{ deadLetterId: number }[]>`
      INSERT INTO dead_letters (sale_id, entry_id, event, currency, payload, reason)
      VALUES ('some', '1-1', ${event}, 'EUR', 'x', 'x') RETURNING dead_letter_id`;
    return row!.deadLetterId;
  }

  async function theLetterOf(saleId: string): Promise<number> {
    return eventually(async () => {
      const ids = await lettersOf(saleId);
      assert.equal(ids.length, 1);
      return ids[0]!;
    });
  }

  async function discard(id: number, reason = 'it can never be written'): Promise<void> {
    const { status } = await admin.call(`POST /dead-letters/${id}/discard`, { body: { reason } });
    assert.equal(status, 200);
  }

  /** The names of the checks that fail. */
  async function broken(saleId: string): Promise<string[]> {
    const { checks } = await verifySale(admin, saleId, PATIENCE);
    return checks.filter(({ ok }) => !ok).map(({ name }) => name);
  }

  async function untilDrained(saleId: string): Promise<void> {
    await eventually(async () => {
      const { events, drained } = await stateInRedis(admin, saleId);
      assert.equal(drained, events);
    });
  }

  async function reservationOf(saleId: string, buyerId: string) {
    const reply = await admin.shards.call(readBuyer, saleId, buyerId);
    assert.ok(reply.outcome === 'known');
    return reply.reservations[0];
  }

  it('stays discarded, with its actor and the reason', async () => {
    const [id, written] = [await makeLetter(1), await makeLetter(2)];
    await admin.sql`UPDATE dead_letters SET resolved_at = now() WHERE dead_letter_id = ${written}`;
    for (const body of [{}, { reason: ' ' }, { reason: 7 }, { reason: 'x'.repeat(501) }]) {
      const { status } = await admin.call(`POST /dead-letters/${id}/discard`, { body });
      assert.equal(status, 422, JSON.stringify(body));
    }
    const body = { reason: 'the buyer id has a NUL' };
    const first = await admin.call(`POST /dead-letters/${id}/discard`, { body });
    assert.equal(first.status, 200);
    assert.equal(first.body.discardReason, body.reason);
    assert.match(first.body.discardedBy, /^operator:/);
    assert.ok(first.body.resolvedAt);
    const again = await admin.call(`POST /dead-letters/${id}/discard`, {
      body: { reason: 'other' },
    });
    assert.deepEqual([again.status, again.body], [200, first.body]);
    const retried = await admin.call(`POST /dead-letters/${id}/retry`);
    assert.deepEqual([retried.status, retried.body.from], [409, 'discarded']);
    const late = await admin.call(`POST /dead-letters/${written}/discard`, { body });
    assert.deepEqual(
      [late.status, late.body.code, late.body.from],
      [409, 'invalid_transition', 'resolved'],
    );
    for (const unknown of ['999999', '0', 'x']) {
      const missing = await admin.call(`POST /dead-letters/${unknown}/discard`, { body });
      assert.deepEqual([missing.status, missing.body.code], [404, 'not_found']);
    }
    const audit = await admin.call('GET /sales/some/audit');
    assert.deepEqual(
      audit.body.data.map((entry: Record<string, unknown>) => [entry.action, entry.details]),
      [['discard-dead-letter', { deadLetterId: id, event: 1, reason: body.reason }]],
    );
    const listed = async (query: string) =>
      (await admin.call(`GET /dead-letters${query}`)).body.data.map(
        ({ deadLetterId }: { deadLetterId: number }) => deadLetterId,
      );
    assert.deepEqual(await listed(''), []);
    assert.deepEqual(await listed('?resolved=true'), [written, id]);
  });

  it('does not block a recovery: its reservation is gone, its unit is for sale, its position is left out', async (test) => {
    const { saleId } = await makeSale(admin, { stock: 10 });
    await rejectRowsUnless(test, admin.sql, POISON);
    await usePersister(test, admin.redis.url, admin.databaseUrl);
    await buy(admin.shards, saleId, ['ada', 'bob', 'poison', 'cyd']);
    const id = await theLetterOf(saleId);
    await admin.shards.of(saleId).client.flushall();
    await untilBlocked(admin, saleId, /dead letter.* discard/);
    const { body: blocked } = await admin.call(`GET /sales/${saleId}/recoveries`);
    assert.match(blocked.data[0].report.why, /dead letter.* discard/);
    const closed = (await verifySale(admin, saleId, PATIENCE)).checks[0]!;
    assert.match(closed.actual, /; its recovery is blocked: .*dead letter.* discard/);
    await discard(id);
    await untilOpen(admin, saleId);
    const reopened = await verifySale(admin, saleId, PATIENCE);
    assert.match(
      reopened.checks.find(({ name }) => name === 'every-decision-is-a-row')!.actual,
      /^3 rows, positions from 1 to 4, 1 of them skipped by recoveries, the next \d{7} skipped/,
    );

    const { stock, events } = await stateInRedis(admin, saleId);
    assert.deepEqual([stock[0]!.remaining, stock[0]!.held, events], [7, 3, 4]);
    assert.equal(await reservationOf(saleId, 'poison'), undefined);
    await buyMany(admin.shards, saleId, { count: 7, batchSize: 3, prefix: 'later' });
    assert.equal((await buy(admin.shards, saleId, ['last']))[0]?.outcome, 'sold_out');
    await untilDrained(saleId);
    const report = await verifySale(admin, saleId, PATIENCE);
    assert.deepEqual(
      report.checks.filter(({ ok }) => !ok),
      [],
    );
    const checkOf = (name: string) => report.checks.find((check) => check.name === name)!;
    assert.match(checkOf('no-dead-letters').actual, /^0 unresolved, 1 discarded/);
    assert.match(checkOf('every-event-is-kept').expected, /^10 events, not counting 1 discarded$/);
    const { body } = await admin.call(`GET /sales/${saleId}/recoveries`);
    assert.equal(body.data[0].report.discarded, 1);
    const [row] = await admin.sql`
      SELECT count(*)::int AS count FROM reservations WHERE sale_id = ${saleId} AND position = 3`;
    assert.equal(row!.count, 0);
  });

  it('is still in effect in Redis until the sale is recovered, which verify reports', async (test) => {
    const { saleId } = await makeSale(admin, { stock: 10 });
    await rejectRowsUnless(test, admin.sql, POISON);
    await usePersister(test, admin.redis.url, admin.databaseUrl);
    await buy(admin.shards, saleId, ['ada', 'poison', 'bob']);
    const id = await theLetterOf(saleId);
    await untilDrained(saleId);
    await discard(id);
    assert.equal((await reservationOf(saleId, 'poison'))?.status, 'reserved');
    assert.deepEqual(await broken(saleId), [
      'held-and-confirmed-are-rows',
      'every-reservation-in-redis-is-a-row',
    ]);
    assert.equal((await admin.call(`POST /sales/${saleId}/recover`)).status, 202);
    await eventually(async () => {
      assert.equal((await stateInRedis(admin, saleId)).stock[0]!.remaining, 8);
    });
    assert.deepEqual(await broken(saleId), []);
  });

  it('does not change a reservation of which a later event was written', async (test) => {
    const { saleId } = await makeSale(admin, { stock: 10 });
    const allow = await rejectRowsUnless(test, admin.sql, POISON);
    await usePersister(test, admin.redis.url, admin.databaseUrl);
    await buy(admin.shards, saleId, ['ada', 'poison', 'bob']);
    const id = await theLetterOf(saleId);
    await allow();
    await discard(id);
    const { reservationId } = (await reservationOf(saleId, 'poison'))!;
    const confirmed = await admin.call(`POST /reservations/${reservationId}/confirm`);
    assert.equal(confirmed.status, 200);
    await untilDrained(saleId);
    assert.deepEqual(await broken(saleId), []);
    await admin.shards.of(saleId).client.flushall();
    await untilOpen(admin, saleId);
    assert.equal((await reservationOf(saleId, 'poison'))?.status, 'confirmed');
    assert.deepEqual(await broken(saleId), []);
    const history = async (version: number) =>
      admin.sql`
        UPDATE reservation_events SET version = ${version}
        WHERE reservation_id = ${reservationId}`;
    await history(3);
    assert.deepEqual(await broken(saleId), ['every-history-is-complete']);
    await history(2);
  });

  it('for the return of a unit that was sold again does not make the sale oversell', async (test) => {
    const { saleId } = await makeSale(admin, { stock: 2 });
    const allow = await rejectRowsUnless(test, admin.sql, "status <> 'cancelled'");
    await usePersister(test, admin.redis.url, admin.databaseUrl);
    await buy(admin.shards, saleId, ['ada', 'bob']);
    const { reservationId } = (await reservationOf(saleId, 'ada'))!;
    assert.equal((await admin.call(`POST /reservations/${reservationId}/cancel`)).status, 200);
    await buy(admin.shards, saleId, ['cyd']);
    const id = await theLetterOf(saleId);
    await untilDrained(saleId);
    await discard(id);
    await admin.shards.of(saleId).client.flushall();
    await untilBlocked(admin, saleId, /^more is held and confirmed than loaded \(unit: 3 of 2\)/);
    await allow();
    const load = { body: { sku: 'unit', delta: 1 }, headers: { 'idempotency-key': 'one-more' } };
    await eventually(async () => {
      assert.equal((await admin.call(`POST /sales/${saleId}/stock`, load)).status, 200);
    });
    assert.equal((await reservationOf(saleId, 'ada'))?.status, 'reserved');
    const { stock } = await stateInRedis(admin, saleId);
    assert.deepEqual([stock[0]!.loaded, stock[0]!.remaining, stock[0]!.held], [3, 0, 3]);
    // The discarded transition can be requested again.
    assert.equal((await admin.call(`POST /reservations/${reservationId}/cancel`)).status, 200);
    await untilDrained(saleId);
    assert.deepEqual(await broken(saleId), []);
  });

  it('for an unreadable entry accounts for one gap in the history and no other', async (test) => {
    const { saleId } = await makeSale(admin);
    await usePersister(test, admin.redis.url, admin.databaseUrl);
    await buyMany(admin.shards, saleId, { count: 10, batchSize: 5, prefix: 'before' });
    await appendEntry(admin.shards, saleId, { v: '1', c: 'EUR', d: 'garbage' });
    await buyMany(admin.shards, saleId, { count: 10, batchSize: 5, prefix: 'behind' });
    const id = await theLetterOf(saleId);
    await untilDrained(saleId);
    assert.deepEqual(await broken(saleId), ['every-event-is-kept', 'no-dead-letters']);
    await discard(id);
    assert.deepEqual(await broken(saleId), []);
    await admin.sql`
      UPDATE reservations SET first_event = NULL WHERE sale_id = ${saleId} AND first_event = 17`;
    assert.ok((await broken(saleId)).includes('every-event-is-kept'));
  });
});
