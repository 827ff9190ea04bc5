/**
 * Not a comparison: one sale of 1,000 units to 10,000 buyers, as in `npm run demo`, watched from its opening to the
 * last row.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { readSale } from '../../src/lua/read/read-sale.ts';
import { writeBuyers } from '../load/buyers.ts';
import { buyTemplate, runWrk } from '../load/wrk.ts';
import { expect, type Measured, type Scenario } from '../measure/scenario.ts';
import { openWholeStack, type WholeStack } from '../measure/whole-stack.ts';

const UNITS = 1_000;
const BUYERS = 10_000;
/** All buyers arrive within two seconds. */
const SECONDS = 2;
const LOOK_MS = 20;
/** Before the first request and after the last row. */
const MARGIN_MS = 200;

type Moment = NonNullable<Measured['timeline']>[number];

export const timeline: Scenario = {
  name: 'timeline',
  title: 'A sale of 1,000 units to 10,000 buyers',
  async run({ stopping }) {
    const stack = await openWholeStack(stopping);
    try {
      const { file } = await writeBuyers(join(stack.directory, 'buyers'), {
        name: 'buyer',
        // Some more than are sent, because the rate is not exact.
        count: BUYERS * 1.1,
        purchasesEach: 1,
      });
      const { saleId } = await makeSale(stack.servers, { stock: UNITS });
      const decidedBefore = await decided(stack);
      const startedAt = performance.now();
      const moments: Moment[] = [];
      const over = new AbortController();
      const watching = (async () => {
        while (!over.signal.aborted) {
          moments.push(await look(stack, saleId, { startedAt, decidedBefore }));
          await sleep(LOOK_MS);
        }
      })();
      await sleep(MARGIN_MS);
      const wrk = await runWrk({
        port: stack.hotPathPort,
        template: buyTemplate(saleId),
        file,
        seconds: SECONDS,
        perSecond: BUYERS / SECONDS,
        connections: 500,
        repeats: false,
        cores: undefined,
        stopping,
      });
      await eventually(() => {
        if (moments.at(-1)!.durable < UNITS) throw new Error('rows are missing');
      });
      await sleep(MARGIN_MS);
      over.abort();
      await watching;
      const last = moments.at(-1)!;
      expect(last.remaining === 0 && last.durable === UNITS, JSON.stringify(last));
      expect(wrk.refused <= wrk.requests - UNITS + 500, `${wrk.refused} were refused`);
      return {
        settings: { units: UNITS, buyers: wrk.requests },
        rounds: [],
        comparisons: [],
        timeline: moments,
      };
    } finally {
      await stack.close();
    }
  },
};

async function look(
  stack: WholeStack,
  saleId: string,
  since: { startedAt: number; decidedBefore: number },
): Promise<Moment> {
  const { shards, sql } = stack.servers;
  const [sale, rows, decidedNow] = await Promise.all([
    shards.call(readSale, saleId),
    sql<{ event: string }[]>`SELECT event FROM checkpoints WHERE sale_id = ${saleId}`,
    decided(stack),
  ]);
  if (sale.outcome !== 'known') throw new Error(`the sale is ${sale.outcome}`);
  return {
    ms: Math.round(performance.now() - since.startedAt),
    decided: decidedNow - since.decidedBefore,
    remaining: sale.state.stock[0]!.remaining,
    durable: Number(rows[0]?.event ?? 0),
  };
}

/** By the hot path's own count. */
async function decided(stack: WholeStack): Promise<number> {
  const text = await (await fetch(`${stack.description().hotPathUrl}/metrics`)).text();
  let total = 0;
  for (const [, count] of text.matchAll(/^flash_sale_buy_seconds_count\{.*\} (\d+)$/gm)) {
    total += Number(count);
  }
  return total;
}
