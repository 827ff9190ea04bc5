/** The page of examples/buy-button, on an origin of its own, with the built client. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { useChromium, usePage, visibleText } from '../../harness/browser/chromium.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { openSale } from '../../harness/sales/sales.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useRedisWithIdentity } from '../../harness/servers/redis.ts';
import { FILE, use } from '../../harness/use.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const PAGE = readFileSync(join(REPOSITORY, 'examples/buy-button/index.html'), 'utf8');

const browser = await useChromium(FILE);
const redis = await useRedisWithIdentity(FILE);
const shards = await useShards(FILE, redis.url);
const built = await use(
  FILE,
  () => mkdtempSync(join(tmpdir(), 'flash-sale-client-')),
  (folder) => rmSync(folder, { recursive: true }),
);
const project = join(REPOSITORY, 'clients/typescript/tsconfig.build.json');
const TSC = join(REPOSITORY, 'node_modules/.bin/tsc');
execFileSync(TSC, ['-p', project, '--outDir', built, '--declaration', 'false', '--removeComments']);

test('the client is as small as its README says', () => {
  const readme = readFileSync(join(REPOSITORY, 'clients/typescript/README.md'), 'utf8');
  const kilobytes = readdirSync(built)
    .map((name) => gzipSync(readFileSync(join(built, name))).length / 1_000)
    .reduce((sum, each) => sum + each, 0);
  const said = Number(/about (\d+) KB compressed/.exec(readme)?.[1]);
  assert.ok(Math.abs(kilobytes - said) <= 0.6, `${kilobytes} KB compressed`);
});

test('a click buys one unit; the next one says why there is no other', async (t) => {
  let hotPathUrl = '';
  const shop = await use(
    t,
    () =>
      createServer(({ url = '/' }, response) => {
        const isModule = url.startsWith('/flash-sale/');
        response.setHeader('content-type', isModule ? 'text/javascript' : 'text/html');
        if (isModule) response.end(readFileSync(join(built, basename(url))));
        else if (url === '/token') response.end(tokenOf('ada'));
        else response.end(PAGE.replace('http://127.0.0.1:8080', hotPathUrl));
      }),
    (server) => {
      server.close();
      server.closeAllConnections();
    },
  );
  shop.listen(0, '127.0.0.1');
  await once(shop, 'listening');
  const origin = `http://127.0.0.1:${(shop.address() as AddressInfo).port}`;
  const hotPath = await useHotPath(t, redis.url, { CORS_ORIGINS: origin });
  hotPathUrl = hotPath.url;
  await openSale(shards, { phone: 2 }, { saleId: 'phones' });

  const page = await usePage(t, browser);
  await page.goto(origin);
  const result = page.locator('#result');
  for (const text of [/^Yours until \d/, /^Limit reached$/]) {
    await page.locator('#buy').click();
    await eventually(async () => assert.match(await visibleText(result), text));
  }
  assert.deepEqual(page.logged, []);
});
