/** The examples of the client's README are files that run, and the buy button is as short as it says. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE } from '../../harness/use.ts';

const CLIENT = join(import.meta.dirname, '../../clients/typescript');
const README = readFileSync(join(CLIENT, 'README.md'), 'utf8');
const EXAMPLE = /<!-- (\S+) -->\n```\w+\n([\s\S]*?)```/g;

const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const hotPath = await useHotPath(FILE, redis.url);

/** Runs an example in this process. Returns what it prints, also later. */
async function run(t: TestContext, name: string, saleId: string): Promise<string[]> {
  const lines: string[] = [];
  t.mock.method(console, 'log', (...words: unknown[]) => lines.push(words.join(' ')));
  Object.assign(process.env, { HOT_PATH_URL: hotPath.url, SALE_ID: saleId, TOKEN: tokenOf('ada') });
  await import(join(CLIENT, 'examples', name));
  return lines;
}

test('the README shows the examples as they are', () => {
  const shown = [...README.matchAll(EXAMPLE)].map(([, path, text]) => ({ path: path!, text }));
  const names = readdirSync(join(CLIENT, 'examples')).map((name) => `examples/${name}`);
  const paths = shown.map(({ path }) => path).filter((path) => path.startsWith('examples/'));
  assert.deepEqual(paths.sort(), names.sort());
  for (const { path, text } of shown) {
    assert.equal(text, readFileSync(join(CLIENT, path), 'utf8'), path);
  }
});

test('buy.ts buys one unit', async (t) => {
  const { saleId } = await openSale(shards, { phone: 1 });
  const lines = await run(t, 'buy.ts', saleId);
  assert.match(lines.join('\n'), /^number 1; pay before 20/);
  const mine = await hotPath.call(`/v1/sales/${saleId}/me`, { buyer: 'ada' });
  assert.equal(mine.body.reservations.length, 1);
});

test('watch.ts shows the sale and the own state', async (t) => {
  const { saleId } = await openSale(shards, { phone: 7 });
  await hotPath.buy(saleId, 'ada');
  const lines = await run(t, 'watch.ts', saleId);
  await eventually(() => {
    // The first view can be 250 ms old.
    assert.match(lines.join('\n'), /phone: [67] left/);
    assert.ok(lines.includes('number 1: reserved'), lines.join('\n'));
  });
});

test('countdown.ts counts down to the start', async (t) => {
  const startsAt = Date.now() + 4_000;
  const { saleId } = await openSale(shards, { phone: 1 }, { startsAt });
  const lines = await run(t, 'countdown.ts', saleId);
  assert.match(lines.join(', '), /^(\d s, )+buy now$/);
});

test('waitlist.ts joins and leaves', async (t) => {
  const { saleId } = await openSale(shards, { phone: 0 });
  const lines = await run(t, 'waitlist.ts', saleId);
  assert.deepEqual(lines, ['number 1 on the waitlist', 'left 1 waitlist']);
});

test('the buy button has at most 20 lines', () => {
  const page = readFileSync(join(CLIENT, '../../examples/buy-button/index.html'), 'utf8');
  assert.ok(page.trimEnd().split('\n').length <= 20);
});
