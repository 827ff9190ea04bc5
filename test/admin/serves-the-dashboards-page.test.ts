/** The dashboard's page is served with a strict policy, and no path leads to any other file. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { callAdmin, useAdmin } from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';

const { app } = await useAdmin(FILE);

async function get(path: string, headers: Record<string, string> = {}) {
  return app.inject({ method: 'GET', url: path, headers });
}

const page = await get('/');
const importMap = /<script type="importmap">([\s\S]*?)<\/script>/.exec(page.body)![1]!;

test('the page runs no inline script but its import map, and loads nothing from elsewhere', () => {
  assert.equal(page.statusCode, 200);
  assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
  const hash = createHash('sha256').update(importMap).digest('base64');
  assert.equal(
    page.headers['content-security-policy'],
    `default-src 'none'; script-src 'self' 'sha256-${hash}'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'`,
  );
  assert.doesNotMatch(page.body, /https?:|\sstyle=|\son\w+=|<style/);
  assert.equal(page.headers['x-frame-options'], 'DENY');
  assert.equal(page.headers['referrer-policy'], 'no-referrer');
  assert.equal(page.headers['cross-origin-opener-policy'], 'same-origin');
  assert.equal(page.headers['cache-control'], 'no-cache');
});

test('everything that the page and its modules import is served as a module', async () => {
  const { imports } = JSON.parse(importMap) as { imports: Record<string, string> };
  const [, main] = /<script type="module" src="([^"]+)"/.exec(page.body)!;
  const queue = [main!, ...Object.values(imports)];
  const seen = new Set<string>();
  for (let path = queue.pop(); path; path = queue.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    const file = await get(path);
    assert.equal(file.statusCode, 200, path);
    assert.equal(file.headers['content-type'], 'text/javascript; charset=utf-8', path);
    assert.equal(file.headers['x-content-type-options'], 'nosniff');
    assert.equal(file.headers['cross-origin-resource-policy'], 'same-origin');
    assert.doesNotMatch(file.body, /sourceMappingURL/);
    for (const [, name] of file.body.matchAll(/\bfrom\s*["']([^"'\s]+)["']/g)) {
      const target = name!.startsWith('.') ? new URL(name!, `http://x${path}`).pathname : undefined;
      const imported = target ?? imports[name!];
      assert.ok(imported, `${path} imports ${name}`);
      queue.push(imported);
    }
  }
  for (const [, path] of page.body.matchAll(/<link rel="stylesheet" href="([^"]+)"/g)) {
    assert.equal((await get(path!)).headers['content-type'], 'text/css; charset=utf-8', path);
  }
  assert.equal((await get('/assets/vendor/uplot.css')).statusCode, 200);
});

test('the browser is told all modules of the first screen at once, and no others', () => {
  const told = [...page.body.matchAll(/<link rel="modulepreload" href="([^"]+)"/g)].map(
    ([, path]) => path!,
  );
  assert.ok(told.includes('/assets/vendor/signals-core.js'), 'an import of an import of a package');
  assert.ok(told.includes('/assets/core/html.js'));
  assert.ok(!told.includes('/assets/screens/audit.js'), 'a screen that is opened later');
  assert.ok(!told.includes('/assets/vendor/uplot.js'));
  assert.equal(new Set(told).size, told.length);
  assert.ok(page.body.indexOf('modulepreload') > page.body.indexOf('importmap'));
});

test('packages that the page imports are in the image, which has no development packages', () => {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { dependencies } = JSON.parse(manifest) as { dependencies: Record<string, string> };
  const { imports } = JSON.parse(importMap) as { imports: Record<string, string> };
  const names = Object.keys(imports).map((name) => name.replace('preact/hooks', 'preact'));
  assert.ok(names.length >= 6);
  for (const name of names) assert.ok(dependencies[name], `${name} is no dependency`);
});

test('the first screen is below 60 kB compressed, and the other screens are served too', async () => {
  const { imports } = JSON.parse(importMap) as { imports: Record<string, string> };
  const compressed = async (path: string) =>
    (await get(path, { 'accept-encoding': 'br' })).rawPayload.length;
  let bytes = (await compressed('/')) + (await compressed('/assets/style.css'));
  const later = new Set<string>();
  const seen = new Set<string>();
  const queue = ['/assets/main.js'];
  for (let path = queue.pop(); path; path = queue.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    bytes += await compressed(path);
    const { body } = await get(path);
    const urlOf = (name: string) => new URL(imports[name] ?? name, `http://x${path}`).pathname;
    for (const [, name] of body.matchAll(/\bfrom\s*["']([^"'\s]+)["']/g)) queue.push(urlOf(name!));
    for (const [, name] of body.matchAll(/\bimport\(["']([^"']+)["']\)/g)) later.add(urlOf(name!));
  }
  assert.ok(bytes < 60_000, `${bytes} bytes`);
  assert.ok(later.size >= 8);
  for (const path of later) assert.equal((await get(path)).statusCode, 200, path);
});

test('the module made of the minified uPlot exports it', async () => {
  const { body } = await get('/assets/vendor/uplot.js');
  assert.match(body, /^\/\*! [^ ]*uPlot [^\n]*\nvar uPlot=/);
  assert.ok(body.endsWith('\nexport default uPlot;\n'));
});

test('files are compressed as the client accepts, and not sent again while unchanged', async () => {
  for (const path of ['/', '/assets/vendor/uplot.js']) {
    const plain = await get(path);
    const brotli = await get(path, { 'accept-encoding': 'gzip, deflate, br' });
    assert.equal(brotli.headers['content-encoding'], 'br');
    assert.equal(brotli.headers.vary, 'Accept-Encoding');
    assert.equal(brotliDecompressSync(brotli.rawPayload).toString(), plain.body);
    const gzip = await get(path, { 'accept-encoding': 'br;q=0, GZIP;q=0.5' });
    assert.equal(gunzipSync(gzip.rawPayload).toString(), plain.body);
    assert.equal(plain.headers['content-encoding'], undefined);

    const etag = String(plain.headers.etag);
    const unchanged = await get(path, { 'if-none-match': `"other", ${etag}` });
    assert.deepEqual([unchanged.statusCode, unchanged.body], [304, '']);
    assert.equal((await get(path, { 'if-none-match': '"other"' })).statusCode, 200);
    const head = await app.inject({ method: 'HEAD', url: path });
    assert.deepEqual([head.statusCode, head.body, head.headers.etag], [200, '', etag]);
    assert.equal(head.headers['content-length'], plain.headers['content-length']);
  }
});

test('no path leads out of the assets, and other methods are refused', async () => {
  for (const path of [
    '/assets/',
    '/assets',
    '/assets/index.html',
    '/assets/../../../../etc/passwd',
    '/assets/../dashboard-page.ts',
    '/assets/..%2f..%2fdashboard-page.ts',
    '/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/package.json',
    '/assets/vendor/..%2f..%2f..%2f..%2f..%2f..%2fpackage.json',
    '/assets/vendor/../../../../../node_modules/preact/package.json',
    '/assets//etc/passwd',
    '/assets/main.js%00',
    '/assets/__proto__',
    '/assets/vendor/constructor',
  ]) {
    const response = await get(path);
    assert.equal(response.statusCode, 404, path);
    assert.equal(response.json().code, 'not_found', path);
  }
  for (const path of ['/', '/assets/main.js']) {
    const response = await callAdmin(app, `POST /${path}`, { as: null });
    assert.deepEqual([response.status, response.headers.allow], [405, 'GET, HEAD'], path);
  }
});
