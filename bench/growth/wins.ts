/** Sales in which every request wins, and what a win costs in them. */
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

/** So many that each of a hundred sales has some of them. */
export const CONNECTIONS = 1_024;

/** A front end and the buyers whom it knows. */
export interface HotPath {
  process: Started;
  buyers: Buyers;
}

/** Each of these buyers has looked at a sale before, so none costs the check of a signature. */
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
  /** Of each sale; buyers take them in turn. */
  skus?: number;
  /** Of each front end. */
  connections?: number;
}

/** Opens the sales, has everybody buy, checks that everybody has bought, and removes the sales. */
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
  await expectSold(testbed, saleIds, { requests, underWay: connections * hotPaths.length });
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

/** More stock in a sale that is open and has had no other operation than the first. */
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

/** Whoever was told yes has a reservation of his own; who was not told in time may have one as well. */
export async function expectSold(
  { servers: { shards } }: Testbed,
  saleIds: readonly string[],
  told: { requests: number; underWay: number; before?: number },
): Promise<void> {
  const { requests, underWay, before = 0 } = told;
  let sold = -before;
  for (const saleId of saleIds) {
    sold += await shards.of(saleId).client.llen(saleKey(saleId, 'order'));
  }
  expect(
    sold >= requests && sold <= requests + underWay,
    `${requests} buyers were told yes and ${sold} reservations exist`,
  );
}

/** All with one rewrite of Redis' file. */
async function removeSales(testbed: Testbed, saleIds: readonly string[]): Promise<void> {
  const [first, ...others] = saleIds;
  const keys = others.flatMap((saleId) => SALE_KEYS.map((key) => saleKey(saleId, key)));
  await testbed.removeSale(first!, keys);
}
