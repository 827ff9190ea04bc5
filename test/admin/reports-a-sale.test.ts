/** The report of a sale: one file that needs nothing else, in which nothing that people typed becomes markup. */
import assert from 'node:assert/strict';
import { before, describe, it, test } from 'node:test';
import { callAdmin, makeDraft, useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { archive, makeEndedSale } from '../../harness/sales/archives.ts';
import { hold } from '../../harness/sales/purchases.ts';
import { untilRows } from '../../harness/sales/reservations.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { FILE } from '../../harness/use.ts';
import { readTimelines } from '../../src/admin/dashboard/report/timelines.ts';

const admin = await useAdmin(FILE);
await usePersister(FILE, admin.redis.url, admin.databaseUrl);

async function reportOf(saleId: string): Promise<string> {
  const { status, headers, body } = await callAdmin(admin.app, `GET /sales/${saleId}/report`, {
    as: 'viewer',
  });
  assert.equal(status, 200, JSON.stringify(body));
  assert.match(String(headers['content-type']), /^text\/html/);
  assert.equal(headers['content-disposition'], `attachment; filename="sale-${saleId}.html"`);
  return String(body);
}

const post = async (path: string, body?: unknown) => {
  const reply = await admin.call(`POST ${path}`, body === undefined ? {} : { body });
  assert.ok(reply.status < 300, `${path}: ${JSON.stringify(reply.body)}`);
};

describe('the report of a sale with hostile texts', () => {
  const script = (from: string) => `<script>alert('${from}')</script>&"`;
  const buyer = `<script>alert("buyer")</script>`;
  let saleId: string;
  let page: string;
  before(async () => {
    saleId = await makeDraft(admin, {
      name: script('name'),
      skus: [{ sku: 'black', name: script('SKU'), price: 19_900, stock: 10 }],
      perBuyerLimit: 5,
    });
    await post(`/sales/${saleId}/open`);
    await post(`/sales/${saleId}/stock`, { sku: 'black', delta: 2, reason: script('reason') });
    const [first] = await hold(admin.shards, saleId, [buyer, 'ada'], 'black*2');
    await post(`/reservations/${first!.reservationId}/confirm`, { paymentRef: 'p' });
    await untilRows(admin, saleId, 2);
    page = await reportOf(saleId);
  });

  it('contains all of them escaped, and no script', () => {
    for (const from of ['name', 'SKU', 'reason'])
      assert.ok(page.includes(`&lt;script&gt;alert(&#39;${from}&#39;)`), from);
    assert.ok(page.includes('&lt;script&gt;alert(&quot;buyer&quot;)'));
    assert.doesNotMatch(page, /<script/i);
  });

  it('loads nothing, and forbids to', () => {
    assert.doesNotMatch(page, /\b(?:src|href|action)=|url\(|@import|https?:\/\/|javascript:/i);
    assert.match(page, /Content-Security-Policy" content="default-src 'none'/);
  });

  it('shows the stock, the reservations, the verification and the changes', () => {
    const row = page.match(/<code>black<\/code>.*/)![0].replaceAll(/<[^>]+>/g, ' ');
    assert.match(row, /199\.00 EUR\s+12\s+8\s+2\s+2\s+33\.3 %/);
    assert.match(page, /Every promise held: \d+ checks passed\./);
    assert.match(
      page,
      /confirmed<\/td><td>purchase<\/td><td class="number">1<\/td><td>398\.00 EUR/,
    );
    assert.equal(page.match(/<svg viewBox="0 0 760/g)?.length, 2);
    assert.doesNotMatch(page, /NaN|undefined|Infinity/);
    assert.doesNotMatch(page, /operator-token/);
  });
});

test('the stock over time ends with the counts of the sale, also after parts and withdrawals', async () => {
  const saleId = await makeDraft(admin, { perBuyerLimit: 9 });
  await post(`/sales/${saleId}/open`);
  const buyers = ['ada', 'ben', 'cy', 'dan', 'eve'];
  const held = await hold(admin.shards, saleId, buyers, 'black*3');
  const [ada, ben, cy, dan] = held.map(({ reservationId }) => `/reservations/${reservationId}`);
  const part = { items: [{ sku: 'black', quantity: 1 }] };
  // A part before and after the confirmation, all of it, and units that leave the sale.
  await post(`${ada}/cancel`, part);
  await post(`${ada}/confirm`);
  await post(`${ben}/confirm`);
  await post(`${ben}/cancel`, { ...part, restock: false });
  await post(`${cy}/cancel`);
  await post(`${dan}/extend`);
  await untilRows(admin, saleId, buyers.length);
  await reportOf(saleId);
  const { stock } = await saleState(admin.shards, saleId);
  const [{ held: heldUnits, confirmed, remaining }] = stock as [(typeof stock)[number]];
  const timelines = await readTimelines(admin.sql, saleId);
  assert.deepEqual(
    {
      held: timelines?.stock.held.at(-1),
      confirmed: timelines?.stock.confirmed.at(-1),
      remaining: timelines?.stock.remaining.at(-1),
    },
    { held: heldUnits, confirmed, remaining },
  );
  const sum = (counts: readonly number[] = []) => counts.reduce((all, one) => all + one, 0);
  assert.equal(sum(timelines?.decisions.decided), buyers.length);
  assert.equal(sum(timelines?.decisions.durable), buyers.length);
});

test('an archived sale, and one that nobody bought from, have a report; an unknown one has none', async () => {
  const { saleId } = await makeEndedSale(admin);
  await archive(admin, saleId);
  const page = await reportOf(saleId);
  assert.match(page, /ended, archived/);
  assert.match(page, /Every promise held/);
  assert.match(page, /confirmed<\/td><td>purchase/);

  assert.match(await reportOf(await makeDraft(admin)), /Nothing was reserved/);

  const unknown = await admin.call('GET /sales/none/report');
  assert.deepEqual([unknown.status, unknown.body.code], [404, 'sale_not_found']);
});
