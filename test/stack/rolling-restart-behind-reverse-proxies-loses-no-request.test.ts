/**
 * Hot paths restart one after the other behind nginx and HAProxy, with the configurations of `deploy/`. Buyers keep their
 * connections, wait for up to 12 s between two purchases, and never retry. Each request gets a response of a hot path.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { useKeptAliveCrowd } from '../../harness/crowds/kept-alive-crowd.ts';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { IS_LONG_RUN } from '../../harness/long-run.ts';
import { Random } from '../../harness/random.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { saleState } from '../../harness/sales/stream.ts';
import { useServers } from '../../harness/servers/connections.ts';
import {
  REVERSE_PROXIES,
  type ReverseProxyName,
  useReverseProxy,
} from '../../harness/servers/reverse-proxies.ts';

/** So that every moment of a restart meets a request. */
const STEADY = { count: 6, gapMs: [50, 400] } as const;
/** Around the 5 s after which nginx closes an idle connection to a hot path, and the 10 s after which a hot path does. */
const IDLE = { count: 8, gapMs: [4_000, 12_000] } as const;
/** The longest gap, on a machine that is three times slower. */
const ROUND = { timeoutMs: 40_000 };
/** So long that HAProxy notices that a hot path is gone, and must notice that it is back. */
const AWAY_MS = 3_000;
const RUN_MS = IS_LONG_RUN ? 180_000 : 0;
const HOT_PATHS = 2;

describe('behind a reverse proxy', { concurrency: 2 }, () => {
  for (const name of Object.keys(REVERSE_PROXIES) as ReverseProxyName[]) {
    it(`${name}: each request gets its response from a hot path`, async (t) => {
      const { redis, servers } = await useServers(t);
      const environment = { REDIS_URL: redis.url, BUYER_AUTH: 'header', DURABILITY: 'fast' };
      const start = (port?: number) =>
        useEngineProcess(t, 'hot-path', {
          ...environment,
          ...(port === undefined ? {} : { HOT_PATH_PORT: String(port) }),
        });
      const hotPaths = await Promise.all(Array.from({ length: HOT_PATHS }, () => start()));
      await Promise.all(hotPaths.map((hotPath) => hotPath.untilReady()));
      const { saleId } = await makeSale(servers, { stock: 1_000_000 });
      const ports = hotPaths.map(({ port }) => port);
      const proxy = await useReverseProxy(t, name, { hotPaths: ports, admin: ports[0]! });

      const random = new Random(Number(process.env.TEST_SEED ?? 1)).of(name);
      const crowd = await useKeptAliveCrowd(t, proxy.buyersUrl, saleId, random, [STEADY, IDLE]);
      const startedAt = performance.now();
      let restarts = 0;
      await eventually(() => assert.ok(crowd.rounds > 1), ROUND);
      do {
        const before = crowd.rounds;
        for (const [index, leaving] of hotPaths.entries()) {
          assert.equal((await leaving.stop()).code, 0);
          await sleep(AWAY_MS);
          hotPaths[index] = await (await start(leaving.port)).untilReady();
          restarts++;
        }
        await eventually(() => assert.ok(crowd.rounds > before), ROUND);
        const { length } = crowd.responses;
        await eventually(() => assert.ok(crowd.responses.length > length + STEADY.count), ROUND);
      } while (performance.now() < startedAt + RUN_MS);
      await crowd.stop();

      const { responses, lost } = crowd;
      t.diagnostic(`${responses.length} responses, ${restarts} restarts`);
      assert.deepEqual(lost, []);
      assert.equal(crowd.connections, STEADY.count + IDLE.count, 'each buyer kept one connection');
      const sold = responses.filter(({ status }) => status === 201).length;
      for (const { status, headers, body } of responses) {
        // Only hot paths send this header.
        assert.ok(headers['x-request-id'], `${status} of the proxy: ${body}`);
        if (status === 201) continue;
        assert.equal(status, 503, body);
        assert.ok(Number(headers['retry-after']) > 0);
      }
      assert.ok(sold > responses.length / 2, `${sold} of ${responses.length}`);
      assert.equal((await saleState(servers.shards, saleId)).stock[0]!.held, sold);
    });
  }
});
