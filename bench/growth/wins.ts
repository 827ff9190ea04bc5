/** Sales in which every request wins, and the cost of a win. */
import { join } from 'node:path';
import { makeSale } from '../../harness/sales/sales.ts';
import type { SaleDefinition, SkuDefinition } from '../../src/domain/sale.ts';
import { SALE_KEYS, saleKey } from '../../src/lua/keys.ts';
import { applyOperation, type StockChange } from '../../src/lua/operate/apply-operation.ts';
import { type Buyers, writeBuyers } from '../load/buyers.ts';
import { buyTemplate } from '../load/wrk.ts';
import type { Figures } from '../measure/rounds.ts';
import { expect } from '../measure/scenario.ts';
import { HOLD_SECONDS, type Started, type Testbed } from '../measure/testbed.ts';
import { LIMIT, STOCK, WARM_BUYERS, WINS_PER_SECOND_MAX, warmTokens } from '../scenarios/win.ts';
import { costOf } from './cost.ts';

/** Enough that each of a hundred sales gets some. */
export const CONNECTIONS = 1_024;

/** A hot path and buyers whose tokens it has cached. */
export interface HotPath {
  process: Started;
  buyers: Buyers;
}

/** Warms the token cache, so that no request costs a signature check. */
export async function openHotPath(
  testbed: Testbed,
  process: Started,
  choices: { name: string; seconds: number },
): Promise<HotPath> {
  const { name, seconds } = choices;
  const buyers = await writeBuyers(join(testbed.directory, `buyers-${name}`), {
    name,
    count: WARM_BUYERS,
    purchasesEach: Math.ceil((WINS_PER_SECOND_MAX * seconds) / WARM_BUYERS),
  });
  await warmTokens(testbed, process, buyers);
  return { process, buyers };
}

export interface WinTurn {
  hotPaths: readonly HotPath[];
  seconds: number;
  /** Buyers take them in turn. */
  sales?: number;
  /** Of each sale. Buyers take them in turn. */
  skus?: number;
  /** Of each hot path. */
  connections?: number;
}

/** Opens the sales, lets all buyers buy, checks the reservations, and deletes the sales. */
export async function winTurn(testbed: Testbed, turn: WinTurn): Promise<Figures> {
  const { hotPaths, seconds, sales = 1, skus = 1, connections = CONNECTIONS } = turn;
  const open: SaleDefinition[] = [];
  for (let count = 0; count < sales; count++) open.push(await openSale(testbed, skus));
  const templates = open.flatMap(({ saleId, skus: all }) =>
    all.map(({ sku }) => buyTemplate(saleId, sku)),
  );
  const { requests, refused, scriptCalls, figures } = await costOf(
    testbed,
    hotPaths.map(({ process, buyers }) => ({
      hotPath: process,
      template: templates,
      file: buyers.file,
      seconds,
      connections,
      repeats: false,
    })),
  );
  const saleIds = open.map(({ saleId }) => saleId);
  expect(refused === 0, `${refused} buyers were refused`);
  await expectSold(testbed, saleIds, { requests, inFlight: connections * hotPaths.length });
  await removeSales(testbed, saleIds);
  return { ...figures, buyersPerCall: requests / scriptCalls };
}

async function openSale({ servers }: Testbed, skuCount: number): Promise<SaleDefinition> {
  const skus = Array.from({ length: skuCount }, (_, index): SkuDefinition => {
    return { sku: index === 0 ? 'unit' : `unit-${index + 1}`, name: 'A unit', price: 1_000 };
  });
  const definition = await makeSale(servers, {
    stock: STOCK,
    perBuyerLimit: LIMIT,
    holdSeconds: HOLD_SECONDS,
    skus,
  });
  const others = skus.slice(1).map(({ sku }) => ({ sku, delta: STOCK }));
  if (others.length > 0) await load(servers, definition, others);
  return definition;
}

/** Adds stock to an open sale. It must be the sale's second operation. */
export async function load(
  { shards }: Testbed['servers'],
  definition: SaleDefinition,
  changes: StockChange[],
): Promise<void> {
  const { saleId } = definition;
  const operation = { operation: 2, timeline: 0, definition, changes };
  const { outcome } = await shards.call(applyOperation, saleId, operation);
  expect(outcome === 'applied', `the stock of ${saleId} was not loaded: ${outcome}`);
  await shards.publishChanged(saleId);
}

/** Each 201 has one reservation. Requests in flight at the end may have one too. */
export async function expectSold(
  { servers: { shards } }: Testbed,
  saleIds: readonly string[],
  sent: { requests: number; inFlight: number; before?: number },
): Promise<void> {
  const { requests, inFlight, before = 0 } = sent;
  let sold = -before;
  for (const saleId of saleIds) {
    sold += await shards.of(saleId).client.llen(saleKey(saleId, 'order'));
  }
  expect(
    sold >= requests && sold <= requests + inFlight,
    `${requests} responses were 201 and ${sold} reservations exist`,
  );
}

/** With a single rewrite of the append-only file. */
async function removeSales(testbed: Testbed, saleIds: readonly string[]): Promise<void> {
  const [first, ...others] = saleIds;
  const keys = others.flatMap((saleId) => SALE_KEYS.map((key) => saleKey(saleId, key)));
  await testbed.removeSale(first!, keys);
}
