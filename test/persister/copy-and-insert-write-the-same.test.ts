/** New events are written by COPY, others by INSERT. Both must write the same rows. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import { lockTable } from '../../harness/servers/postgres-faults.ts';
import { FILE } from '../../harness/use.ts';
import { classifyError } from '../../src/persister/database/postgres-errors.ts';
import { eventsOf, type StreamEvent } from '../../src/persister/stream/entries.ts';
import { writeBatch } from '../../src/persister/write/write-batch.ts';

const { servers } = await useServers(FILE);
const { sql } = servers;

const NOW = Date.UTC(2026, 10, 20, 10, 0, 0, 123);

/** First events of one sale, numbered from 1. `detail` is encoded as in the stream. */
const STRANGE: {
  position?: number;
  items?: string;
  prices?: string;
  buyer?: string;
  key?: string;
  at?: number;
  detail?: string;
  request?: string;
}[] = [
  {},
  { buyer: String.raw`\N"quote"\t'one'`, key: String.raw`\.` },
  { position: 2 ** 32 - 1 },
  { position: 2 ** 32 },
  { position: 2 ** 32 + 1, prices: '4294967296' },
  { position: 2 ** 53 - 3, prices: '900719925474099' },
  { items: 'a*1,b*20', prices: '7,11' },
  { detail: encodeURIComponent('tab\there, line\nthere, \\N, ünïcödé ☃ 𝄞') },
  { detail: encodeURIComponent('x'.repeat(255)) },
  { detail: encodeURIComponent('é'.repeat(128)) },
  { detail: encodeURIComponent('y'.repeat(70_000)) },
  { at: Date.UTC(1999, 11, 31, 23, 59, 59, 999) },
  { at: Date.UTC(1969, 6, 20) },
  { at: Date.UTC(2262, 3, 12) },
  { request: 'r'.repeat(64) },
  { key: 'waitlist 000000000001', detail: 'waitlist' },
];

const WITH_DETAIL = STRANGE.filter(
  ({ detail }) => detail !== undefined && detail !== 'waitlist',
).length;

function strangeEvents(saleId: string): StreamEvent[] {
  return STRANGE.map((each, index) => {
    const { items = 'unit*1', prices = '1000', buyer = `buyer-${index}`, key = '' } = each;
    const { at = NOW, detail = '', request = 'r', position = index + 1 } = each;
    const terms = `abcdefgh\t${at}\t${at + 300_000}\t${items}\t${prices}`;
    const text = `=${position.toString(36)}\t${terms}\n\t${buyer}\t${key}\t${detail}\t${request}\t`;
    return numbered(saleId, index + 1, text);
  });
}

function numbered(saleId: string, number: number, text: string): StreamEvent {
  return eventsOf(saleId, '1-0', ['s', String(number), 'c', 'EUR', 'd', text])[0]!;
}

/** As another event that has the same line, of a reservation in the short form or not. */
function withNumber(event: StreamEvent, number: number): StreamEvent {
  const { position, idempotencyKey, buyerId, requestId, saleId } = event.reservation;
  const [, , , tag, items, prices, reservedAt, expiresAt] = event.line().split('\t');
  const terms = `${tag}\t${reservedAt}\t${expiresAt}\t${items}\t${prices}`;
  const text = `=${position.toString(36)}\t${terms}\n\t${buyerId}\t${idempotencyKey}\t\t${requestId}\t`;
  return numbered(saleId, number, text);
}

/** The event that confirms a reservation. */
function transitionOf(event: StreamEvent, number: number): StreamEvent {
  const confirmed = {
    ...event.reservation,
    version: 2,
    status: 'confirmed' as const,
    detail: 'paid',
  };
  return { entryId: '1-0', number, line: () => event.line(), reservation: confirmed };
}

/** What PostgreSQL contains after the batch was written. */
async function written(events: StreamEvent[], saleId: string, way: 'copy' | 'upsert') {
  const guard = { lock: 'take', timeline: 0, isCurrent: () => true } as const;
  assert.equal(await writeBatch(sql, saleId, events, guard, way), 'written');
  const rows = await sql`
    SELECT to_jsonb(r) - 'persisted_at' AS row FROM reservations r WHERE sale_id = ${saleId} ORDER BY position`;
  const history = await sql`
    SELECT to_jsonb(e) AS row FROM reservation_history e WHERE sale_id = ${saleId} ORDER BY event`;
  const [checkpoint] = await sql`SELECT event FROM checkpoints WHERE sale_id = ${saleId}`;
  return { rows: [...rows], history: [...history], checkpoint };
}

async function forget(saleId: string): Promise<void> {
  for (const table of ['reservations', 'reservation_events', 'checkpoints']) {
    await sql`DELETE FROM ${sql(table)} WHERE sale_id = ${saleId}`;
  }
}

describe('COPY and INSERT write the same rows', () => {
  it('for fields with unusual values', async () => {
    const { saleId } = await makeSale(servers);
    const events = strangeEvents(saleId);
    const copied = await written(events, saleId, 'copy');
    assert.equal(copied.rows.length, STRANGE.length);
    assert.equal(copied.history.length, STRANGE.length);
    const listed = await sql`SELECT FROM reservation_events WHERE sale_id = ${saleId}`;
    assert.equal(listed.length, WITH_DETAIL, 'the other first events follow from their rows');
    await forget(saleId);
    assert.deepEqual(copied, await written(events, saleId, 'upsert'));
  });

  it('for a batch with later transitions of its own reservations', async () => {
    const { saleId } = await makeSale(servers);
    const event = (number: number, version: number, status: string, position: number) => {
      const line = `${version}\t${status}\t${position}\tabcdefgh\tunit*1\t1000\t${NOW}\t${NOW + version}\t\tada\t${NOW + version}\t\tr-${number}\t`;
      return numbered(saleId, number, line);
    };
    const events = [
      event(1, 1, 'R', 1),
      event(2, 1, 'R', 2),
      event(3, 2, 'P', 1),
      event(4, 2, 'X', 2),
      event(5, 3, 'C', 1),
    ];
    const copied = await written(events, saleId, 'copy');
    assert.deepEqual(
      copied.rows.map(({ row }) => [row.status, row.version, row.requestId]),
      [
        ['confirmed', 3, 'r-1'],
        ['cancelled', 2, 'r-2'],
      ],
    );
    await forget(saleId);
    assert.deepEqual(copied, await written(events, saleId, 'upsert'));
  });

  it('for a batch that is delivered again, in whole or in part', async () => {
    const { saleId } = await makeSale(servers);
    const events = strangeEvents(saleId);
    const once = await written(events.slice(0, 6), saleId, 'copy');
    assert.deepEqual(await written(events.slice(0, 6), saleId, 'copy'), once);
    const all = await written(events.slice(3), saleId, 'copy');
    assert.equal(all.history.length, STRANGE.length);
    assert.deepEqual(await written(events, saleId, 'copy'), all);
  });

  it('and write nothing when the connection dies during COPY', async () => {
    const { saleId } = await makeSale(servers);
    const unlock = await lockTable(servers, 'reservations', 'SHARE');
    const refused = assert.rejects(written(strangeEvents(saleId), saleId, 'copy'));
    await eventually(async () => {
      const ended = await sql`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%COPY reservations%'`;
      assert.equal(ended.length, 1);
    });
    await refused;
    await unlock();
    const [row] = await sql`
      SELECT count(*)::int AS count FROM reservation_history WHERE sale_id = ${saleId}`;
    assert.equal(row?.count, 0);
    assert.equal(
      (await written(strangeEvents(saleId), saleId, 'copy')).rows.length,
      STRANGE.length,
    );
  });

  it('and both fail for an event whose number is taken', async () => {
    const { saleId } = await makeSale(servers);
    const [first, second] = strangeEvents(saleId) as [StreamEvent, StreamEvent];
    await written([first], saleId, 'copy');
    const later = transitionOf(second, 2);
    await written([later], saleId, 'upsert');
    const impostors = [
      withNumber(second, 1),
      transitionOf(second, 1),
      withNumber(second, 2),
      withNumber(first, 2),
    ];
    for (const impostor of impostors) {
      for (const way of ['upsert', 'copy'] as const) {
        const error = await written([impostor], saleId, way).catch((thrown: unknown) => thrown);
        assert.equal(classifyError(error), 'data', String(error));
      }
    }
    // The same where no checkpoint says that the numbers are taken.
    await sql`DELETE FROM checkpoints WHERE sale_id = ${saleId}`;
    for (const impostor of impostors.slice(0, 2)) {
      for (const way of ['upsert', 'copy'] as const) {
        const error = await written([impostor], saleId, way).catch((thrown: unknown) => thrown);
        assert.equal(classifyError(error), 'data', String(error));
      }
    }
    // The connection still works.
    assert.equal((await sql`SELECT 1`).length, 1);
  });
});
