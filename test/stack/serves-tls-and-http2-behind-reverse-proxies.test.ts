/**
 * With their commented lines for TLS, the configurations of nginx and HAProxy in `deploy/` serve browsers: purchases by
 * HTTP/2 and by HTTP/1.1, WebSockets, and the operators' API.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2';
import { Agent as HttpsAgent, request } from 'node:https';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { Agent } from 'undici';
import { useChromium, usePage } from '../../harness/browser/chromium.ts';
import { useWatcher } from '../../harness/crowds/live-watcher.ts';
import { TOKENS, useApp } from '../../harness/engine/admin.ts';
import { tokenOf, useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useCertificates } from '../../harness/servers/certificates.ts';
import { useServers } from '../../harness/servers/connections.ts';
import {
  REVERSE_PROXIES,
  type ReverseProxyName,
  useReverseProxy,
} from '../../harness/servers/reverse-proxies.ts';
import { FILE, use } from '../../harness/use.ts';

/** Half of what a hot path takes. */
const LARGE_COOKIE = `session=${'c'.repeat(7_000)}`;
/** Only HAProxy offers WebSockets on an HTTP/2 connection (RFC 8441). With nginx, browsers open another connection. */
const OFFERS_EXTENDED_CONNECT: Record<ReverseProxyName, boolean> = { nginx: false, haproxy: true };

const certificates = await useCertificates(FILE);
const ca = readFileSync(certificates.authority);
const browser = await useChromium(FILE);

describe('behind a reverse proxy with TLS', { concurrency: 2 }, () => {
  for (const name of Object.keys(REVERSE_PROXIES) as ReverseProxyName[]) {
    it(`${name}: HTTP/2, HTTP/1.1, WebSockets and the operators' API`, async (t) => {
      const { redis, servers } = await useServers(t);
      const hotPath = await useHotPath(t, redis.url, { TRUSTED_PROXIES: '127.0.0.1' });
      const app = await useApp(t, servers, { trustedProxies: ['127.0.0.1'] });
      await app.listen({ host: '127.0.0.1', port: 0 });
      const upstreams = {
        hotPaths: [hotPath.internals.port],
        admin: (app.server.address() as { port: number }).port,
      };
      const proxy = await useReverseProxy(t, name, upstreams, { certificates });
      const { saleId } = await makeSale(servers, { stock: 1_000 });
      const sale = `/v1/sales/${saleId}`;

      const dispatcher = await use(t, () => new Agent({ connect: { ca }, allowH2: false }));
      const watcher = await useWatcher(t, { url: proxy.buyersUrl }, saleId, {
        buyer: 'ada',
        dispatcher,
      });
      const session = await useHttp2(t, proxy.buyersUrl);
      const bought = await exchange(session, {
        ':method': 'POST',
        ':path': `${sale}/buy`,
        authorization: `Bearer ${tokenOf('ada')}`,
        cookie: LARGE_COOKIE,
      });
      assert.equal(bought.status, 201, bought.body);
      await watcher.receives('reservation', ({ reservation }) => reservation.buyerId === 'ada');

      const older = await buyByHttp1(`${proxy.buyersUrl}${sale}/buy`, 'ben');
      assert.deepEqual(older, { status: 201, protocol: 'http/1.1' });

      const offered = session.remoteSettings.enableConnectProtocol === true;
      assert.equal(offered, OFFERS_EXTENDED_CONNECT[name]);
      if (offered) await receivesByHttp2(session, `${sale}/live`);

      const operators = await useHttp2(t, proxy.operatorsUrl);
      const link = await exchange(operators, {
        ':method': 'POST',
        ':path': '/admin/v1/sign-in-links',
        authorization: `Bearer ${TOKENS.operator}`,
      });
      const { url } = JSON.parse(link.body) as { url: string };
      assert.ok(url.startsWith(`${proxy.operatorsUrl}/#/sign-in/`), url);
    });

    it(`${name}: a browser buys by HTTP/2 and receives its reservation by WebSocket`, async (t) => {
      const { redis, servers } = await useServers(t);
      const hotPath = await useHotPath(t, redis.url);
      const upstreams = { hotPaths: [hotPath.internals.port], admin: hotPath.internals.port };
      const proxy = await useReverseProxy(t, name, upstreams, { certificates });
      const { saleId } = await makeSale(servers, { stock: 1_000 });
      const page = await usePage(t, browser, { ignoreHTTPSErrors: true });
      const sale = `${proxy.buyersUrl}/v1/sales/${saleId}`;
      await page.goto(sale);
      const seen = await page.evaluate(buyAndListen, { sale, token: tokenOf('ada') });
      assert.deepEqual(seen, { status: 201, protocol: 'h2', buyerId: 'ada' });
    });
  }
});

/** Runs in the page, so that the purchase uses the connection that loaded it. */
async function buyAndListen({ sale, token }: { sale: string; token: string }) {
  const socket = new WebSocket(`${sale.replace('https', 'wss')}/live`, [
    'flash-sale',
    `bearer.${token}`,
  ]);
  const failed = new Promise<never>((_, reject) => {
    socket.addEventListener('error', () => reject(new Error('the WebSocket failed')));
  });
  const opened = new Promise((resolve) => socket.addEventListener('open', resolve));
  const reserved = new Promise<string>((resolve) => {
    socket.addEventListener('message', ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === 'reservation') resolve(message.reservation.buyerId);
    });
  });
  type Timing = { nextHopProtocol: string };
  const timed = new Promise<Timing>((resolve) => {
    new PerformanceObserver((list) => {
      const [entry] = list.getEntriesByName(`${sale}/buy`);
      if (entry) resolve(entry as unknown as Timing);
    }).observe({ type: 'resource' });
  });
  await Promise.race([opened, failed]);
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${sale}/buy`, { method: 'POST', headers });
  await response.text();
  const buyerId = await Promise.race([reserved, failed]);
  return { status: response.status, protocol: (await timed).nextHopProtocol, buyerId };
}

async function useHttp2(t: TestContext, url: string): Promise<ClientHttp2Session> {
  const session = await use(t, () => connect(url, { ca }));
  await Promise.all([once(session, 'connect'), once(session, 'remoteSettings')]);
  assert.equal(session.alpnProtocol, 'h2');
  return session;
}

async function exchange(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
): Promise<{ status: number; body: string }> {
  const stream = session.request(headers);
  stream.end();
  const [received] = await once(stream, 'response');
  return { status: received[':status'], body: await text(stream) };
}

async function buyByHttp1(url: string, buyer: string) {
  const outgoing = request(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokenOf(buyer)}` },
    agent: new HttpsAgent({ ca, ALPNProtocols: ['http/1.1'] }),
  });
  outgoing.end();
  const [response] = await once(outgoing, 'response');
  const protocol = (response.socket as TLSSocket).alpnProtocol;
  response.resume();
  return { status: response.statusCode, protocol };
}

/** Opens a WebSocket as one stream of an HTTP/2 connection, and waits for the state of the sale. */
async function receivesByHttp2(session: ClientHttp2Session, path: string): Promise<void> {
  const stream = session.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': path,
      'sec-websocket-version': '13',
    },
    { endStream: false },
  );
  const [headers] = await once(stream, 'response');
  assert.equal(headers[':status'], 200);
  let received = '';
  stream.setEncoding('latin1').on('data', (chunk) => {
    received += chunk;
  });
  // A server's frames are not masked.
  await eventually(() => assert.match(received, /"type":"sale"/));
  stream.close();
}
