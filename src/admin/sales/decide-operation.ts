/**
 * The rules for changing a sale, as functions of values: each returns the sale operation to record, `unchanged`, or a
 * refusal.
 */
import { type FieldError, PROBLEMS } from '../../api/problems.ts';
import { SKUS_PER_SALE_MAX, STOCK_MAX } from '../../domain/identifiers.ts';
import { REHEARSE } from '../../domain/rehearsal.ts';
import {
  SALE_TRANSITIONS,
  type SaleDefinition,
  type SaleStatus,
  type SaleTransition,
  type SkuDefinition,
  waitlistHoldSecondsOf,
} from '../../domain/sale.ts';
import { type Refusal, refuse, refuseFields } from '../http/outcome.ts';
import type { SaleMoment } from './sale-moment.ts';
import type { NewSale, SalePatch, SkuPatch } from './sale-schemas.ts';

export interface PlannedStockChange {
  sku: string;
  delta: number;
  reason: string;
}

/** A sale operation to record: the whole definition after it, and its stock changes. */
export interface PlannedOperation {
  action: string;
  definition: SaleDefinition;
  stock: PlannedStockChange[];
}

export type Decision = PlannedOperation | 'unchanged' | Refusal;

export function planCreation(saleId: string, sale: NewSale): PlannedOperation {
  const { name, currency, startsAt, endsAt, perBuyerLimit } = sale;
  return {
    action: sale.rehearsal ? REHEARSE : 'create',
    definition: {
      saleId,
      name,
      currency,
      status: 'draft',
      startsAt,
      endsAt,
      perBuyerLimit,
      ...holdsOf(sale),
      skus: sale.skus.map((sku) => skuOf({ ...sku, name: sku.name ?? sku.sku })),
    },
    stock: initialStock(sale.skus),
  };
}

export function decideTransition(
  sale: SaleDefinition,
  transition: SaleTransition,
  moment: SaleMoment,
): Decision {
  const { from, to } = SALE_TRANSITIONS[transition];
  // An end is also recorded for a sale that its clock has ended, so it needs no clock any more.
  const status = transition === 'end' ? sale.status : moment.status;
  if (status === to) return 'unchanged';
  if (!(from as readonly string[]).includes(status)) {
    return refuse('invalid_transition', { from: status, to });
  }
  return { action: transition, definition: { ...definitionOf(sale), status: to }, stock: [] };
}

/** An archived sale has ended and does not change any more; ending it again is no change. */
export function decideForArchived(request: unknown): Decision {
  if (request === 'end') return 'unchanged';
  return refuse('invalid_transition', {
    detail: `${PROBLEMS.invalid_transition.detail} The sale is archived.`,
    from: 'archived',
    to: 'archived',
  });
}

/** A draft can change except for its currency; later, a change must not contradict earlier responses to buyers. */
export function decidePatch(sale: SaleDefinition, patch: SalePatch, moment: SaleMoment): Decision {
  const skus = patch.skus ? patchSkus(sale, patch.skus) : { skus: sale.skus, stock: [] };
  if ('refused' in skus) return skus;
  const frozen = moment.status === 'draft' ? [] : frozenFields(sale, patch, moment);
  if (frozen.length > 0) return refuseFrozen(moment.status, frozen);
  const definition = definitionOf({
    ...sale,
    name: patch.name ?? sale.name,
    startsAt: patch.startsAt === undefined ? sale.startsAt : patch.startsAt,
    endsAt: patch.endsAt === undefined ? sale.endsAt : patch.endsAt,
    perBuyerLimit: patch.perBuyerLimit ?? sale.perBuyerLimit,
    holdSeconds: patch.holdSeconds ?? sale.holdSeconds,
    // After the draft, a patch that is not refused does not change it.
    waitlistHoldSeconds:
      moment.status === 'draft' && patch.waitlistHoldSeconds !== undefined
        ? patch.waitlistHoldSeconds
        : sale.waitlistHoldSeconds,
    skus: skus.skus,
  });
  if (
    definition.startsAt !== null &&
    definition.endsAt !== null &&
    definition.endsAt <= definition.startsAt
  ) {
    return refuseFields({ field: 'endsAt', message: 'must be after startsAt' });
  }
  if (JSON.stringify(definition) === JSON.stringify(definitionOf(sale))) return 'unchanged';
  return { action: 'patch', definition, stock: skus.stock };
}

/** Only Redis has the remaining units, so Redis decides whether a withdrawal is possible. */
export function decideStock(
  sale: SaleDefinition,
  change: PlannedStockChange,
  loadedUnits: number,
  { status, isRecovering }: SaleMoment,
): Decision {
  // The recovery of an ended sale can need units too: those that were sold and not loaded.
  if (status === 'ended' && !(isRecovering && change.delta > 0)) {
    return refuse('invalid_transition', {
      detail: 'The stock cannot change after the sale has ended. Nothing was changed.',
      from: status,
      to: status,
    });
  }
  if (!sale.skus.some(({ sku }) => sku === change.sku)) {
    return refuseFields({ field: 'sku', message: 'must be a SKU of this sale' });
  }
  if (loadedUnits + change.delta > STOCK_MAX) {
    return refuseFields({
      field: 'delta',
      message: `must not load more than ${STOCK_MAX} units in total`,
    });
  }
  return {
    action: change.delta > 0 ? 'load' : 'withdraw',
    definition: definitionOf(sale),
    stock: [change],
  };
}

/** Only a draft can be deleted: in any other state, buyers may have reservations. */
export function decideDeletion({ status }: SaleMoment): Refusal | undefined {
  if (status === 'draft') return undefined;
  return refuse('invalid_transition', {
    detail: `${PROBLEMS.invalid_transition.detail} Only a draft can be deleted.`,
    from: status,
    to: 'deleted',
  });
}

const START_MARGIN_MS = 2_000;

/** A repeated request gets its first response also when the sale has ended since, so equal fields are not frozen. */
function frozenFields(
  sale: SaleDefinition,
  patch: SalePatch,
  { status, nowMs }: SaleMoment,
): string[] {
  // Buyers already got the response that the sale is over.
  const hasEnded = status === 'ended';
  // A start this near may pass before the change reaches Redis, and buyers may then have got responses.
  const hasBegun = sale.startsAt === null || nowMs >= sale.startsAt - START_MARGIN_MS;
  const { skus = [], ...fields } = patch;
  const isFrozen: Record<keyof typeof fields, boolean> = {
    name: hasEnded,
    endsAt: hasEnded,
    perBuyerLimit: hasEnded,
    startsAt: hasEnded || hasBegun,
    holdSeconds: true,
    waitlistHoldSeconds: true,
  };
  const before = { ...sale, waitlistHoldSeconds: waitlistHoldSecondsOf(sale) };
  const after = { ...fields };
  if (after.waitlistHoldSeconds === null) after.waitlistHoldSeconds = sale.holdSeconds;
  const frozen: string[] = (Object.keys(fields) as (keyof typeof fields)[]).filter(
    (field) => isFrozen[field] && before[field] !== after[field],
  );
  // Nobody can buy before the start or during a pause, so nobody gets another price than the one shown.
  const areTermsFrozen = hasEnded || (status !== 'paused' && hasBegun);
  for (const [index, { sku, ...terms }] of skus.entries()) {
    const known = sale.skus.find((each) => each.sku === sku);
    if (!known) frozen.push(`skus.${index}.sku`);
    for (const field of known && areTermsFrozen ? (['name', 'price'] as const) : []) {
      const isSame = terms[field] === undefined || terms[field] === known?.[field];
      if (!isSame) frozen.push(`skus.${index}.${field}`);
    }
    const { perBuyerLimit } = terms;
    const isSameLimit =
      perBuyerLimit === undefined || perBuyerLimit === (known?.perBuyerLimit ?? null);
    if (known && hasEnded && !isSameLimit) frozen.push(`skus.${index}.perBuyerLimit`);
  }
  return frozen;
}

function refuseFrozen(status: SaleStatus, frozen: readonly string[]): Refusal {
  const detail = `These fields cannot change while the sale is ${status}; see errors.`;
  const isOfSkus = frozen.some((field) => /^skus.*(name|price)$/.test(field));
  const advice = ' Pause the sale to change names and prices of its SKUs.';
  return refuse('invalid_transition', {
    detail: status === 'open' && isOfSkus ? detail + advice : detail,
    from: status,
    to: status,
    errors: frozen.map((field) => ({
      field,
      message: field.endsWith('.sku') ? 'must be a SKU of this sale' : 'must not change any more',
    })),
  });
}

function patchSkus(
  sale: SaleDefinition,
  patches: readonly SkuPatch[],
): { skus: SkuDefinition[]; stock: PlannedStockChange[] } | Refusal {
  const skus = sale.skus.map((sku) => ({ ...sku }));
  const added: { sku: string; stock: number }[] = [];
  const errors: FieldError[] = [];
  for (const [index, patch] of patches.entries()) {
    const known = skus.find(({ sku }) => sku === patch.sku);
    if (known) {
      if (patch.stock !== undefined) {
        errors.push({
          field: `skus.${index}.stock`,
          message: 'must be changed by /stock once the SKU exists',
        });
      }
      known.name = patch.name ?? known.name;
      known.price = patch.price ?? known.price;
      if (patch.perBuyerLimit === null) delete known.perBuyerLimit;
      else if (patch.perBuyerLimit !== undefined) known.perBuyerLimit = patch.perBuyerLimit;
    } else if (patch.price === undefined) {
      errors.push({ field: `skus.${index}.price`, message: 'must be given for a new SKU' });
    } else {
      const { sku, name = sku, price, perBuyerLimit } = patch;
      skus.push(skuOf({ sku, name, price, perBuyerLimit }));
      added.push({ sku: patch.sku, stock: patch.stock ?? 0 });
    }
  }
  if (skus.length > SKUS_PER_SALE_MAX) {
    errors.push({ field: 'skus', message: `must not exceed ${SKUS_PER_SALE_MAX} SKUs in total` });
  }
  return errors.length > 0 ? refuseFields(...errors) : { skus, stock: initialStock(added) };
}

function initialStock(skus: readonly { sku: string; stock: number }[]): PlannedStockChange[] {
  return skus
    .filter(({ stock }) => stock > 0)
    .map(({ sku, stock }) => ({ sku, delta: stock, reason: 'first stock' }));
}

/** The definition without other fields, and always in the same field order. */
function definitionOf(sale: Unchecked<SaleDefinition>): SaleDefinition {
  const { saleId, name, currency, status, startsAt, endsAt, perBuyerLimit } = sale;
  const terms = { perBuyerLimit, ...holdsOf(sale), skus: sale.skus.map(skuOf) };
  return { saleId, name, currency, status, startsAt, endsAt, ...terms };
}

type Holds = Pick<SaleDefinition, 'holdSeconds' | 'waitlistHoldSeconds'>;
/** Null and undefined: as long as purchases. */
type Unchecked<T extends Holds> = Omit<T, 'waitlistHoldSeconds'> & {
  waitlistHoldSeconds?: number | null | undefined;
};

function holdsOf({ holdSeconds, waitlistHoldSeconds }: Unchecked<Holds>): Holds {
  return { holdSeconds, ...(typeof waitlistHoldSeconds === 'number' && { waitlistHoldSeconds }) };
}

function skuOf(sku: {
  sku: string;
  name: string;
  price: number;
  perBuyerLimit?: number | null | undefined;
}): SkuDefinition {
  const { sku: id, name, price, perBuyerLimit } = sku;
  return { sku: id, name, price, ...(typeof perBuyerLimit === 'number' && { perBuyerLimit }) };
}
