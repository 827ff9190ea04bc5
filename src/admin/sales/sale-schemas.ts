/** The JSON of sales in the admin: what operators send, and a sale as operators see it. */
import { z } from 'zod';
import { saleIdSchema, saleStatusSchema, skuSchema, timeSchema } from '../../api/schemas.ts';
import {
  HOLD_SECONDS_MAX,
  PRICE_MAX,
  SKUS_PER_SALE_MAX,
  STOCK_MAX,
} from '../../domain/identifiers.ts';
import { momentSchema, textSchema } from '../http/request-schemas.ts';

const CURRENCIES: ReadonlySet<string> = new Set(Intl.supportedValuesOf('currency'));

const nameSchema = textSchema(200).regex(/\S/, { error: 'must not be empty' });

const currencySchema = z
  .string()
  .refine((code) => CURRENCIES.has(code), { error: 'wants a currency of ISO 4217, such as EUR' });

const priceSchema = z.int().min(0).max(PRICE_MAX);
const stockSchema = z.int().min(0).max(STOCK_MAX);
const perBuyerLimitSchema = z.int().min(1).max(STOCK_MAX);
const holdSecondsSchema = z.int().min(1).max(HOLD_SECONDS_MAX);

const newSkuSchema = z.strictObject({
  sku: skuSchema,
  name: nameSchema.optional().describe("The SKU's own id unless given."),
  price: priceSchema.describe('Minor units.'),
  stock: stockSchema,
});

export const newSaleSchema = z
  .strictObject({
    saleId: saleIdSchema.optional().describe('Made from the name unless given.'),
    name: nameSchema,
    currency: currencySchema,
    startsAt: momentSchema.nullable().default(null),
    endsAt: momentSchema.nullable().default(null),
    perBuyerLimit: perBuyerLimitSchema.default(1),
    holdSeconds: holdSecondsSchema.default(300),
    skus: z.array(newSkuSchema).min(1).max(SKUS_PER_SALE_MAX).superRefine(refuseTwice),
  })
  .superRefine(({ startsAt, endsAt }, context) => {
    if (startsAt !== null && endsAt !== null && endsAt <= startsAt) {
      context.addIssue({ code: 'custom', path: ['endsAt'], message: 'must be after startsAt' });
    }
  });
export type NewSale = z.infer<typeof newSaleSchema>;

const skuPatchSchema = newSkuSchema.partial({ price: true, stock: true });
export type SkuPatch = z.infer<typeof skuPatchSchema>;

export const salePatchSchema = z
  .strictObject({
    name: nameSchema,
    startsAt: momentSchema.nullable(),
    endsAt: momentSchema.nullable(),
    perBuyerLimit: perBuyerLimitSchema,
    holdSeconds: holdSecondsSchema,
    skus: z
      .array(skuPatchSchema)
      .min(1)
      .max(SKUS_PER_SALE_MAX)
      .superRefine(refuseTwice)
      .describe('New SKUs (with a price), or new names and prices of known ones. None is removed.'),
  })
  .partial();
export type SalePatch = z.infer<typeof salePatchSchema>;

export const stockChangeSchema = z.strictObject({
  sku: skuSchema,
  delta: z
    .int()
    .min(-STOCK_MAX)
    .max(STOCK_MAX)
    .refine((delta) => delta !== 0, { error: 'must not be 0' })
    .describe('Units to load, or, below zero, to withdraw.'),
  reason: textSchema(500).default(''),
});

/** What a change of stock did; a repeated request gets the same. */
export const stockReceiptSchema = z
  .object({
    saleId: z.string(),
    operation: z.int(),
    sku: z.string(),
    delta: z.int(),
    reason: z.string(),
    loaded: z
      .int()
      .nullable()
      .describe('Right after the change; null if Redis could not be read then.'),
    remaining: z.int().nullable(),
    createdAt: timeSchema,
  })
  .meta({ id: 'StockReceipt' });

const count = z.int().nullable();

export const saleSchema = z
  .object({
    saleId: z.string(),
    name: z.string(),
    status: saleStatusSchema,
    currency: z.string(),
    startsAt: timeSchema.nullable(),
    endsAt: timeSchema.nullable(),
    perBuyerLimit: z.int(),
    holdSeconds: z.int(),
    skus: z.array(
      z.object({
        sku: z.string(),
        name: z.string(),
        price: z.int(),
        loaded: count.describe('Null, like the next four, while Redis does not know.'),
        remaining: count,
        held: count,
        confirmed: count,
        waiting: count.describe('Buyers in line; while there are any, it is sold out for others.'),
      }),
    ),
    createdAt: timeSchema,
    updatedAt: timeSchema,
    redis: z
      .enum(['known', 'recovering', 'unknown', 'away'])
      .describe(
        'Whether Redis knows the sale, is being checked, has never heard of it, or is away.',
      ),
    persister: z.object({
      lag: count.describe('Events that Redis has numbered and PostgreSQL has not got yet.'),
      events: count.describe('Events that Redis has numbered.'),
      checkpoint: z
        .object({ event: z.int(), entryId: z.string(), updatedAt: timeSchema })
        .nullable()
        .describe('How far PostgreSQL has come; null: nothing yet.'),
    }),
    pendingOperations: z.int().describe('Changes that are recorded and not yet applied to Redis.'),
  })
  .meta({ id: 'Sale' });
export type SaleJson = z.infer<typeof saleSchema>;

function refuseTwice(skus: readonly { sku: string }[], context: z.RefinementCtx): void {
  const seen = new Set<string>();
  for (const [index, { sku }] of skus.entries()) {
    if (seen.has(sku)) {
      context.addIssue({ code: 'custom', path: [index, 'sku'], message: 'is named twice' });
    }
    seen.add(sku);
  }
}
