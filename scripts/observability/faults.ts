/** For each alert, a fault that it is for, caused on a running engine. `npm run alerts:fire` runs them one after the other. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type BrokenCopy, makeBrokenCopy } from '../../harness/engine/broken-copy.ts';
import { status } from '../../harness/network/webhook-receiver.ts';
import { childrenOf } from '../../harness/servers/process-records.ts';
import { freeze, thaw } from '../../harness/servers/server-process.ts';
import { saleKey, WORK_CHANNEL } from '../../src/lua/keys.ts';
import { keepDoing, type ObservedEngine } from './observed-engine.ts';

export interface Fault {
  cause: string;
  /** In the order in which they are expected. */
  alerts: readonly string[];
  /** Causes it and resolves at once. Returns what ends it. */
  begin: (engine: ObservedEngine) => Promise<() => Promise<unknown>>;
}

let buyers = 0;
const newBuyer = () => `buyer-${++buyers}`;

function crowd(engine: ObservedEngine, saleId: string, choices = {}) {
  return keepDoing(() => engine.buy(saleId, newBuyer()), { atOnce: 4, pauseMs: 50, ...choices });
}

/** Freezes and thaws a process again and again. */
function stutter(pid: () => number, frozenMs: number, runningMs: number) {
  return keepDoing(
    async () => {
      freeze(pid());
      await sleep(frozenMs);
      thaw(pid());
    },
    { pauseMs: runningMs },
  );
}

export const FAULTS: readonly Fault[] = [
  {
    cause: 'the hot path is killed',
    alerts: ['FlashSaleNoHotPath', 'FlashSaleTargetDown'],
    async begin(engine) {
      await engine.processes['hot-path'].kill();
      return () => engine.replace('hot-path');
    },
  },
  {
    cause: 'the persister is killed',
    alerts: ['FlashSaleNoPersister'],
    async begin(engine) {
      await engine.processes.persister.kill();
      return () => engine.replace('persister');
    },
  },
  {
    cause: 'the persister freezes for 8 s at a time while holds come due, and nobody buys any more',
    alerts: ['FlashSaleHoldsEndLate'],
    async begin(engine) {
      const saleId = await engine.sell(100_000, { holdSeconds: 40 });
      const crowding = crowd(engine, saleId, { atOnce: 1 });
      // Purchases would end due holds, too.
      const quiet = setTimeout(() => void crowding.stop(), 39_000);
      const stuttering = stutter(() => engine.processes.persister.pid, 8_000, 3_000);
      return async () => {
        clearTimeout(quiet);
        await stuttering.stop();
        await crowding.stop();
      };
    },
  },
  {
    cause: 'admin is killed',
    alerts: ['FlashSaleNoAdmin'],
    async begin(engine) {
      await engine.processes.admin.kill();
      return () => engine.replace('admin');
    },
  },
  {
    cause: 'PostgreSQL is stopped while buyers buy',
    alerts: ['FlashSalePostgresFailing', 'FlashSalePersisterBehind'],
    async begin(engine) {
      const saleId = await engine.sell(100_000);
      const crowding = crowd(engine, saleId);
      // A sale that no persister knows yet has no lag.
      await sleep(3_000);
      await engine.postgres.shutDown();
      return async () => {
        await crowding.stop();
        await engine.postgres.start();
      };
    },
  },
  {
    cause: 'Redis freezes for 3 s at a time, longer than the timeout of a call, while buyers buy',
    alerts: ['FlashSaleUnknownOutcomes'],
    async begin(engine) {
      const saleId = await engine.sell(100_000);
      const crowding = crowd(engine, saleId);
      const stuttering = stutter(() => engine.redis.pid, 3_000, 1_500);
      return async () => {
        await stuttering.stop();
        await crowding.stop();
      };
    },
  },
  {
    cause: 'Redis is killed while a merchant confirms and an operator loads stock',
    alerts: ['FlashSaleOperationsPending', 'FlashSaleConfirmationsFail'],
    async begin(engine) {
      const saleId = await engine.sell(10);
      const { body } = await engine.buy(saleId, newBuyer());
      await engine.redis.kill();
      void engine.operate(`POST /sales/${saleId}/stock`, { sku: 'unit', delta: 5 });
      const confirming = keepDoing(() =>
        engine.operate(`POST /reservations/${body.reservationId}/confirm`, {}),
      );
      return async () => {
        await confirming.stop();
        await engine.redis.start();
      };
    },
  },
  {
    cause: 'the memory of Redis is full to more than 80 %',
    alerts: ['FlashSaleRedisFull'],
    async begin(engine) {
      const saleId = await engine.sell(100_000);
      const crowding = crowd(engine, saleId);
      await engine.onRedis(async (redis) => {
        const used = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))![1]);
        await redis.config('SET', 'maxmemory', String(Math.round(used / 0.9)));
      });
      return async () => {
        await crowding.stop();
        await engine.onRedis((redis) => redis.config('SET', 'maxmemory', '0'));
      };
    },
  },
  {
    cause: 'somebody sets appendfsync of Redis to no',
    alerts: ['FlashSaleRedisUnfit'],
    async begin(engine) {
      await engine.onRedis((redis) => redis.config('SET', 'appendfsync', 'no'));
      return () => engine.onRedis((redis) => redis.config('SET', 'appendfsync', 'always'));
    },
  },
  {
    cause: "a process' clock is set 5 s ahead",
    alerts: ['FlashSaleClockJumped'],
    async begin(engine) {
      // Only after some scrapes: a counter that begins with 1 has not increased.
      const shift = `const now = Date.now; setTimeout(() => { Date.now = () => now() + 5000 }, 6000).unref();`;
      const preload = `--import=data:text/javascript,${encodeURIComponent(shift)}`;
      await engine.replace('admin', { NODE_OPTIONS: preload });
      return () => engine.replace('admin');
    },
  },
  {
    cause: 'Redis stutters while buyers ask for a sale that is sold out',
    alerts: ['FlashSaleSlowRefusals'],
    async begin(engine) {
      const saleId = await engine.sell(1);
      const crowding = crowd(engine, saleId, { atOnce: 10 });
      const stuttering = stutter(() => engine.redis.pid, 700, 100);
      return async () => {
        await stuttering.stop();
        await crowding.stop();
      };
    },
  },
  {
    cause: 'admin gets too little CPU time',
    alerts: ['FlashSaleEventLoopBlocked'],
    async begin(engine) {
      const stuttering = stutter(() => engine.processes.admin.pid, 800, 200);
      return () => stuttering.stop();
    },
  },
  {
    cause: 'a hot path with REQUESTS_MAX=2 gets 40 requests at once',
    alerts: ['FlashSaleOverloaded'],
    async begin(engine) {
      const saleId = await engine.sell(100_000);
      await engine.replace('hot-path', { REQUESTS_MAX: '2' });
      const crowding = crowd(engine, saleId, { atOnce: 40, pauseMs: 10 });
      return async () => {
        await crowding.stop();
        await engine.replace('hot-path');
      };
    },
  },
  {
    cause: 'one of two workers of the hot path freezes',
    alerts: ['FlashSaleWorkersUnresponsive'],
    async begin(engine) {
      await engine.replace('hot-path', { HOT_PATH_WORKERS: '2' });
      const [worker] = childrenOf(engine.processes['hot-path'].pid);
      freeze(worker!);
      return async () => {
        thaw(worker!);
        await engine.replace('hot-path');
      };
    },
  },
  {
    cause: 'a copy of the engine with a mistake in the code throws in a handler',
    alerts: ['FlashSaleHandlerFailures'],
    async begin(engine) {
      const copy: BrokenCopy = makeBrokenCopy({
        file: 'hot-path/buyer/queries.ts',
        original:
          "    if (reply.outcome !== 'known') {\n      return absentResponse(reply.outcome, { views, saleId }, 'sale_not_found');",
        broken:
          "    if (name.startsWith('buyer')) throw new TypeError('a mistake');\n    if (reply.outcome !== 'known') {\n      return absentResponse(reply.outcome, { views, saleId }, 'sale_not_found');",
      });
      const saleId = await engine.sell(1);
      await engine.replace('hot-path', {}, copy.mainModule);
      // After some scrapes: see the clock.
      const asking = keepDoing(() => engine.get(`/v1/sales/${saleId}/me`, newBuyer()), {
        pauseMs: 2_000,
      });
      return async () => {
        await asking.stop();
        await engine.replace('hot-path');
        copy.remove();
      };
    },
  },
  {
    cause: 'a count of the stock is changed in Redis by hand, then verified',
    alerts: ['FlashSaleStockInvariantViolated', 'FlashSaleVerifyFailed'],
    async begin(engine) {
      const saleId = await engine.sell(100);
      await engine.buy(saleId, newBuyer());
      await engine.onRedis((redis) => redis.hincrby(saleKey(saleId, 'stock'), 'unit:remaining', 3));
      const crowding = crowd(engine, saleId, { atOnce: 1 });
      void engine.operate(`GET /sales/${saleId}/verify`);
      return async () => {
        await crowding.stop();
        await engine.operate(`POST /sales/${saleId}/recover`);
      };
    },
  },
  {
    cause: 'a key of the sale is replaced by one of another type',
    alerts: ['FlashSaleScriptsFail', 'FlashSaleDamageFound'],
    async begin(engine) {
      const saleId = await engine.sell(100_000);
      const crowding = crowd(engine, saleId);
      await sleep(500);
      await engine.onRedis((redis) => redis.set(saleKey(saleId, 'order'), 'damage'));
      return () => crowding.stop();
    },
  },
  {
    cause: 'an entry of a newer format version is in the stream',
    alerts: ['FlashSaleEntriesWait'],
    async begin(engine) {
      const saleId = await engine.sell(10);
      await engine.buy(saleId, newBuyer());
      await sleep(3_000);
      // As a hot path of a newer version would write it.
      await engine.onRedis(async (redis) => {
        await redis.hincrby(saleKey(saleId, 'sale'), 'events', 1);
        await redis.xadd(
          saleKey(saleId, 'events'),
          '*',
          'v',
          '99',
          's',
          '2',
          'c',
          'EUR',
          'd',
          'newer',
        );
        await redis.publish(WORK_CHANNEL, saleId);
      });
      return async () => undefined;
    },
  },
  {
    cause:
      'a constraint makes PostgreSQL reject reservations; the sale ends and is due for the archive; then Redis loses its memory',
    alerts: ['FlashSaleDeadLetters', 'FlashSaleNotArchived', 'FlashSaleNotRecovered'],
    async begin(engine) {
      const saleId = await engine.sell(10, { holdSeconds: 1 });
      await engine.sql`
        ALTER TABLE reservations ADD CONSTRAINT no_poison CHECK (buyer_id <> 'poison') NOT VALID`;
      await engine.buy(saleId, 'poison');
      await sleep(2_000);
      await engine.operate(`POST /sales/${saleId}/end`);
      const open = await engine.sell(10);
      await engine.buy(open, 'poison');
      // The persister looks once a minute for sales to archive; the flush follows.
      const flushing = setTimeout(() => {
        void engine.onRedis((redis) => redis.flushall());
      }, 75_000);
      return async () => {
        clearTimeout(flushing);
        await engine.sql`ALTER TABLE reservations DROP CONSTRAINT no_poison`;
      };
    },
  },
  {
    cause: 'a webhook endpoint responds 500; then its last attempt is due',
    alerts: ['FlashSaleWebhooksLate', 'FlashSaleWebhooksGivenUp'],
    async begin(engine) {
      engine.receiver.respond = status(500);
      const created = await engine.operate('POST /webhooks', { url: engine.receiver.url });
      const saleId = await engine.sell(10);
      await engine.buy(saleId, newBuyer());
      // 24 hours of attempts, made to end now.
      const ending = setTimeout(() => {
        void engine.sql`
          UPDATE webhook_deliveries SET give_up_at = now(), due_at = now() WHERE state = 'pending'`.catch(
          () => undefined,
        );
        void engine.sql`UPDATE webhook_endpoints SET paused_until = NULL`.catch(() => undefined);
      }, 80_000);
      return async () => {
        clearTimeout(ending);
        await engine.operate(`DELETE /webhooks/${created.body.webhookId}`);
      };
    },
  },
];
