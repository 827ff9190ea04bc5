/** Sales in which every request wins, and what a win costs in them. */
import { join } from 'node:path';
import { makeSale } from '../../harness/engine/sales.ts';
import type { SaleDefinition, SkuDefinition } from '../../src/domain/sale.ts';
import { SALE_KEYS, saleKey } from '../../src/lua/keys.ts';
import { applyOperation, type StockChange } from '../../src/lua/operate/apply-operation.ts';
import { type Buyers, writeBuyers } from '../load/buyers.ts';
import { buyTemplate } from '../load/wrk.ts';
import type { Figures } from '../rounds.ts';
import { demand } from '../sanity.ts';
import {
  everybodyLooks,
  LIMIT,
  STOCK,
  WARM_BUYERS,
  WINS_PER_SECOND_MAX,
} from '../scenarios/win.ts';
import { HOLD_SECONDS, type Stage, type Started } from '../testbed.ts';
import { costOf } from './cost.ts';

/** So many that each of a hundred sales has some of them. */
export const CONNECTIONS = 1_024;

/** A front end and the buyers whom it knows. */
export interface FrontEnd {
  process: Started;
  buyers: Buyers;
}

/** Each of these buyers has looked at a sale before, so none costs the check of a signature. */
export async function openFrontEnd(
  stage: Stage,
  process: Started,
  choices: { name: string; seconds: number },
): Promise<FrontEnd> {
  const { name, seconds } = choices;
  const buyers = await writeBuyers(join(stage.directory, `buyers-${name}`), {
    name,
    count: WARM_BUYERS,
    purchasesEach: Math.ceil((WINS_PER_SECOND_MAX * seconds) / WARM_BUYERS),
  });
  await everybodyLooks(stage, process, buyers);
  return { process, buyers };
}

export interface WinTurn {
  frontEnds: readonly FrontEnd[];
  seconds: number;
  /** Buyers take them in turn. */
  sales?: number;
  /** Of each sale; buyers take them in turn. */
  skus?: number;
  /** Of each front end. */
  connections?: number;
}

/** Opens the sales, has everybody buy, checks that everybody has bought, and removes the sales. */
export async function winTurn(stage: Stage, turn: WinTurn): Promise<Figures> {
  const { frontEnds, seconds, sales = 1, skus = 1, connections = CONNECTIONS } = turn;
  const open: SaleDefinition[] = [];
  for (let count = 0; count < sales; count++) open.push(await openSale(stage, skus));
  const templates = open.flatMap(({ saleId, skus: all }) =>
    all.map(({ sku }) => buyTemplate(saleId, sku)),
  );
  const { requests, refused, scriptCalls, figures } = await costOf(
    stage,
    frontEnds.map(({ process, buyers }) => ({
      frontEnd: process,
      template: templates,
      file: buyers.file,
      seconds,
      connections,
      repeats: false,
    })),
  );
  const saleIds = open.map(({ saleId }) => saleId);
  demand(refused === 0, `${refused} buyers were refused`);
  await demandSold(stage, saleIds, { requests, underWay: connections * frontEnds.length });
  await removeSales(stage, saleIds);
  return { ...figures, buyersPerCall: requests / scriptCalls };
}

async function openSale({ servers }: Stage, skuCount: number): Promise<SaleDefinition> {
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
  { shards }: Stage['servers'],
  definition: SaleDefinition,
  changes: StockChange[],
): Promise<void> {
  const { saleId } = definition;
  const operation = { operation: 2, timeline: 0, definition, changes };
  const { outcome } = await shards.call(applyOperation, saleId, operation);
  demand(outcome === 'applied', `the stock of ${saleId} was not loaded: ${outcome}`);
  await shards.publishChanged(saleId);
}

/** Whoever was told yes has a reservation of his own; who was not told in time may have one as well. */
export async function demandSold(
  { servers: { shards } }: Stage,
  saleIds: readonly string[],
  told: { requests: number; underWay: number; before?: number },
): Promise<void> {
  const { requests, underWay, before = 0 } = told;
  let sold = -before;
  for (const saleId of saleIds) {
    sold += await shards.of(saleId).client.llen(saleKey(saleId, 'order'));
  }
  demand(
    sold >= requests && sold <= requests + underWay,
    `${requests} buyers were told yes and ${sold} reservations exist`,
  );
}

/** All with one rewrite of Redis' file. */
async function removeSales(stage: Stage, saleIds: readonly string[]): Promise<void> {
  const [first, ...others] = saleIds;
  const keys = others.flatMap((saleId) => SALE_KEYS.map((key) => saleKey(saleId, key)));
  await stage.removeSale(first!, keys);
}
