/**
 * A hot path closes an idle connection after 10 s. A purchase that a proxy sends at that moment is lost: 502. With the
 * configurations of `deploy/`, nginx closes every idle connection earlier and HAProxy nearly every one, after a rush and
 * with little traffic.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useKeptAliveCrowd } from '../../harness/crowds/kept-alive-crowd.ts';
import { useHotPath } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { IS_LONG_RUN } from '../../harness/long-run.ts';
import { useClosingRecorder } from '../../harness/network/closing-recorder.ts';
import { Random } from '../../harness/random.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { useServers } from '../../harness/servers/connections.ts';
import {
  REVERSE_PROXIES,
  type ReverseProxyName,
  useReverseProxy,
} from '../../harness/servers/reverse-proxies.ts';

/** All at once at the start, and then with gaps around the limits of proxies and hot paths. */
const RUSH = { count: 40, gapMs: [6_000, 11_000] } as const;
const STEADY = { count: 3, gapMs: [100, 500] } as const;
/** HAProxy has no time limit for such a connection: it closes those above what it needed lately. */
const SHARE_MAX: Record<ReverseProxyName, number> = { nginx: 0, haproxy: 0.05 };
const ROUNDS = IS_LONG_RUN ? 15 : 1;
/** The longest gap, on a machine that is three times slower. */
const ROUND_MS_MAX = 40_000;

describe('behind a reverse proxy', { concurrency: 2 }, () => {
  for (const name of Object.keys(REVERSE_PROXIES) as ReverseProxyName[]) {
    it(`${name}: at most ${100 * SHARE_MAX[name]} % of the idle connections are closed by the hot path`, async (t) => {
      const { redis, servers } = await useServers(t);
      const hotPath = await useHotPath(t, redis.url, { BUYER_AUTH: 'header' });
      const recorder = await useClosingRecorder(t, {
        port: hotPath.internals.port,
        text: 'POST /',
      });
      const upstreams = { hotPaths: [recorder.port], admin: hotPath.internals.port };
      const proxy = await useReverseProxy(t, name, upstreams);
      const { saleId } = await makeSale(servers, { stock: 1_000_000 });

      const random = new Random(Number(process.env.TEST_SEED ?? 1)).of(name);
      const crowd = await useKeptAliveCrowd(t, proxy.buyersUrl, saleId, random, [RUSH, STEADY]);
      await eventually(() => assert.ok(crowd.rounds > ROUNDS), {
        timeoutMs: ROUNDS * ROUND_MS_MAX,
      });
      await crowd.stop();
      // Without traffic, the last connections are closed too.
      await eventually(() => assert.equal(recorder.open, 0));

      assert.deepEqual(crowd.lost, []);
      for (const { status, body } of crowd.responses) assert.equal(status, 201, body);
      const { closedByClient, closedByServer } = recorder;
      t.diagnostic(`${crowd.responses.length} responses, ${closedByClient} connections closed`);
      const closed = closedByClient + closedByServer;
      assert.ok(closed >= RUSH.count / 2);
      const share = closedByServer / closed;
      assert.ok(share <= SHARE_MAX[name], `the hot path closed ${closedByServer} of ${closed}`);
    });
  }
});
