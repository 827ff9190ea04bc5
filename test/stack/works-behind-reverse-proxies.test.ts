/**
 * The configurations of nginx and HAProxy in `deploy/` pass everything that browsers and shops need: purchases, large
 * heads, preflights, WebSockets and administration. An idle connection or a missing hot path costs no purchase.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { TOKENS, useApp } from '../../harness/engine/admin.ts';
import { startHotPath, tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import {
  REVERSE_PROXIES,
  type ReverseProxyName,
  useReverseProxy,
} from '../../harness/servers/reverse-proxies.ts';

const ORIGIN = 'https://shop.example';
const BUYERS = 40;
/** Longer than a hot path keeps an idle connection. */
const IDLE_MS = 11_000;
/** Longer than HAProxy needs to notice that no hot path is ready. */
const UNREADY_MS = 5_000;

describe('behind a reverse proxy', { concurrency: 2 }, () => {
  for (const name of Object.keys(REVERSE_PROXIES) as ReverseProxyName[]) {
    it(`${name}: everything works, after a pause and without one of two hot paths too`, async (test) => {
      const { redis, servers } = await useServers(test);
      const environment = { CORS_ORIGINS: ORIGIN, TRUSTED_PROXIES: '127.0.0.1' };
      const leaving = await startHotPath(redis.url, environment);
      test.after(() => leaving.close());
      const staying = await useHotPath(test, redis.url, environment);
      const app = await useApp(test, servers, { trustedProxies: ['127.0.0.1'] });
      await app.listen({ host: '127.0.0.1', port: 0 });
      const proxy = await useReverseProxy(test, name, {
        hotPaths: [leaving.internals.port, staying.internals.port],
        admin: (app.server.address() as { port: number }).port,
      });
      const { saleId } = await makeSale(servers, { stock: 1_000 });
      const path = `${proxy.buyersUrl}/v1/sales/${saleId}`;
      const buy = async (buyer: string, headers: Record<string, string> = {}) => {
        const response = await request(`${path}/buy`, {
          method: 'POST',
          headers: { authorization: `Bearer ${tokenOf(buyer)}`, origin: ORIGIN, ...headers },
        });
        return { ...response, text: await response.body.text() };
      };
      const buyAll = async (prefix: string) => {
        const buyers = Array.from({ length: BUYERS }, (_, index) => `${prefix}-${index}`);
        const responses = await Promise.all(buyers.map((buyer) => buy(buyer)));
        const statuses = responses.map(({ statusCode }) => statusCode);
        assert.deepEqual(
          statuses,
          buyers.map(() => 201),
        );
      };

      const watcher = await useWatcher(test, { url: proxy.buyersUrl }, saleId, { buyer: 'ada' });
      const large = { cookie: `session=${'c'.repeat(7_000)}` };
      const bought = await buy('ada', large);
      assert.equal(bought.statusCode, 201, bought.text);
      assert.equal(bought.headers['access-control-allow-origin'], ORIGIN);
      assert.equal(bought.headers['cache-control'], 'no-store');
      await watcher.receives('reservation', ({ reservation }) => reservation.buyerId === 'ada');

      const preflight = await request(`${path}/buy`, {
        method: 'OPTIONS',
        headers: { origin: ORIGIN, 'access-control-request-method': 'POST' },
      });
      assert.equal(preflight.statusCode, 204);
      const head = await request(path, { method: 'HEAD' });
      assert.equal(head.statusCode, 200);
      assert.equal(head.headers['cache-control'], 'no-cache');
      const isPrivate = await request(`${proxy.buyersUrl}/metrics`);
      assert.equal(isPrivate.statusCode, 404);
      const sale = `${proxy.operatorsUrl}/admin/v1/sales/${saleId}`;
      const headers = { authorization: `Bearer ${TOKENS.viewer}` };
      await eventually(async () =>
        assert.equal((await request(sale, { headers })).statusCode, 200),
      );

      const link = await request(`${proxy.operatorsUrl}/admin/v1/sign-in-links`, {
        method: 'POST',
        headers: { authorization: `Bearer ${TOKENS.operator}` },
      });
      const { url } = (await link.body.json()) as { url: string };
      assert.ok(url.startsWith(`${proxy.operatorsUrl}/#/sign-in/`), url);

      await buyAll('before');
      await sleep(IDLE_MS);
      await buyAll('after-a-pause');
      assert.equal(watcher.closeCode, undefined, 'the WebSocket is still open');
      await leaving.close();
      await buyAll('without-one');

      await redis.kill();
      await sleep(UNREADY_MS);
      const unavailable = await buy('without-redis');
      assert.equal(unavailable.statusCode, 503);
      assert.ok(Number(unavailable.headers['retry-after']) > 0, 'it is from the hot path');
    });
  }
});
