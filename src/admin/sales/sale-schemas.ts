/** JSON schemas of sales in the admin: the requests of operators and their view of a sale. */
import { z } from 'zod';
import { saleIdSchema, saleStatusSchema, skuSchema, timeSchema } from '../../api/schemas.ts';
import { MINOR_UNIT_DIGITS } from '../../domain/currency.ts';
import {
  HOLD_SECONDS_MAX,
  PRICE_MAX,
  SKUS_PER_SALE_MAX,
  STOCK_MAX,
} from '../../domain/identifiers.ts';
import { isRehearsal, NO_REHEARSAL_ID_RULE, REHEARSAL_ID_RULE } from '../../domain/rehearsal.ts';
import { textSchema, timestampSchema } from '../http/request-schemas.ts';

const nameSchema = textSchema(200).regex(/\S/, { error: 'must not be empty' });

const currencySchema = z
  .string()
  .refine((code) => MINOR_UNIT_DIGITS.has(code), {
    error: 'must be the code of an active ISO 4217 currency, such as EUR',
  })
  .describe(`Prices are in its minor units. ${describeDigits()}`);

function describeDigits(): string {
  const codes = [...Map.groupBy(MINOR_UNIT_DIGITS, ([, digits]) => digits)]
    .filter(([digits]) => digits !== 2)
    .map(([digits, some]) => `${digits} for ${some.map(([code]) => code).join(', ')}`);
  return `Digits after the decimal point: ${codes.join('; ')}; 2 for every other active currency.`;
}

const priceSchema = z.int().min(0).max(PRICE_MAX);
const stockSchema = z.int().min(0).max(STOCK_MAX);
const perBuyerLimitSchema = z.int().min(1).max(STOCK_MAX);
const holdSecondsSchema = z.int().min(1).max(HOLD_SECONDS_MAX);

const newSkuSchema = z.strictObject({
  sku: skuSchema,
  name: nameSchema.optional().describe('Defaults to the id of the SKU.'),
  price: priceSchema.describe('In minor units of the currency.'),
  stock: stockSchema,
  perBuyerLimit: perBuyerLimitSchema
    .optional()
    .describe("Units of this SKU that one buyer may have, beside the sale's limit."),
});

export const newSaleSchema = z
  .strictObject({
    saleId: saleIdSchema.optional().describe('Defaults to an id derived from the name.'),
    name: nameSchema,
    currency: currencySchema,
    startsAt: timestampSchema.nullable().default(null),
    endsAt: timestampSchema.nullable().default(null),
    perBuyerLimit: perBuyerLimitSchema.default(1),
    holdSeconds: holdSecondsSchema
      .default(300)
      .describe('How long a purchase is held. An extension adds the same time.'),
    waitlistHoldSeconds: holdSecondsSchema
      .optional()
      .describe(
        'How long a reservation from the waitlist is held: its buyer may not be looking at the shop. Defaults to `holdSeconds`. An extension adds `holdSeconds`.',
      ),
    skus: z.array(newSkuSchema).min(1).max(SKUS_PER_SALE_MAX).superRefine(rejectDuplicates),
    rehearsal: z
      .boolean()
      .optional()
      .describe(
        'A sale for trying out the system. Its id begins with `rehearsal-`, and no other id does. It needs `endsAt`, sells only to buyers whose id begins with `rehearsal-`, sends no webhooks, is not in lists of all sales and reservations, and can be deleted with everything in it.',
      ),
  })
  .superRefine(({ saleId, rehearsal = false, endsAt }, context) => {
    const issue = (field: string, message: string) =>
      context.addIssue({ code: 'custom', path: [field], message });
    if (rehearsal && endsAt === null) issue('endsAt', 'must be set for a rehearsal');
    if (saleId === undefined || isRehearsal(saleId) === rehearsal) return;
    issue('saleId', rehearsal ? REHEARSAL_ID_RULE : NO_REHEARSAL_ID_RULE);
  })
  .superRefine(({ startsAt, endsAt }, context) => {
    if (startsAt !== null && endsAt !== null && endsAt <= startsAt) {
      context.addIssue({ code: 'custom', path: ['endsAt'], message: 'must be after startsAt' });
    }
  });
export type NewSale = z.infer<typeof newSaleSchema>;

const skuPatchSchema = newSkuSchema.partial({ price: true, stock: true }).extend({
  perBuyerLimit: perBuyerLimitSchema.nullable().optional().describe('Null: no limit of its own.'),
});
export type SkuPatch = z.infer<typeof skuPatchSchema>;

export const salePatchSchema = z
  .strictObject({
    name: nameSchema,
    startsAt: timestampSchema.nullable(),
    endsAt: timestampSchema.nullable(),
    perBuyerLimit: perBuyerLimitSchema,
    holdSeconds: holdSecondsSchema,
    waitlistHoldSeconds: holdSecondsSchema.nullable().describe('Null: as `holdSeconds`.'),
    skus: z
      .array(skuPatchSchema)
      .min(1)
      .max(SKUS_PER_SALE_MAX)
      .superRefine(rejectDuplicates)
      .describe(
        'New SKUs (with a price), or new names, prices and limits of existing ones. No SKU is removed.',
      ),
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
    .describe('Units to load, or to withdraw if negative.'),
  reason: textSchema(500).default(''),
});

/** The result of a stock change; a repeated request gets the same receipt. */
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
      .describe('Right after the change; null if Redis could not be read at that moment.'),
    remaining: z.int().nullable(),
    createdAt: timeSchema,
  })
  .meta({ id: 'StockReceipt' });

const count = z.int().nullable();

export const saleSchema = z
  .object({
    saleId: z.string(),
    name: z.string(),
    status: saleStatusSchema.describe(
      "The status that buyers see: a sale whose end has passed is `ended`. The sale's time in Redis decides, PostgreSQL's clock while Redis does not have the sale.",
    ),
    currency: z.string(),
    startsAt: timeSchema.nullable(),
    endsAt: timeSchema.nullable(),
    perBuyerLimit: z.int(),
    holdSeconds: z.int(),
    waitlistHoldSeconds: z
      .int()
      .describe('How long a reservation from the waitlist is held; `holdSeconds` by default.'),
    skus: z.array(
      z.object({
        sku: z.string(),
        name: z.string(),
        price: z.int(),
        perBuyerLimit: z.int().nullable().describe('Null: no limit of its own.'),
        loaded: count.describe(
          'This and the next five are null while Redis does not have the sale.',
        ),
        remaining: count,
        held: count,
        confirmed: count,
        waiting: count.describe('Buyers on the waitlist.'),
        tooFewForWaitlist: count.describe(
          'Remaining units that no buyer on the waitlist can take, because each waits for more. They are on sale for everyone. 0 while nobody waits.',
        ),
      }),
    ),
    createdAt: timeSchema,
    updatedAt: timeSchema,
    archivedAt: timeSchema
      .nullable()
      .describe('From this time on, PostgreSQL alone has the sale; null while Redis has it.'),
    redis: z
      .enum(['known', 'recovering', 'unknown', 'away', 'archived'])
      .describe(
        '`archived`: only a marker is left, and the counts come from PostgreSQL. `known`: Redis has the sale. `recovering`: the sale is being recovered. `unknown`: Redis does not have it. `away`: Redis is unavailable.',
      ),
    persister: z.object({
      lag: count.describe('Events that Redis has numbered and PostgreSQL does not have yet.'),
      events: count.describe('Events that Redis has numbered.'),
      checkpoint: z
        .object({ event: z.int(), entryId: z.string(), updatedAt: timeSchema })
        .nullable()
        .describe('The last event in PostgreSQL; null if there is none yet.'),
    }),
    clock: z
      .object({
        aheadMs: z
          .int()
          .describe(
            "By how much the sale's time is ahead of Redis' clock, which was set back. 0 in normal operation.",
          ),
        differenceMs: z.int().describe("Redis' clock less this process' clock, about every 2 s."),
        lastJump: z
          .object({ ms: z.int(), noticedAt: timeSchema })
          .nullable()
          .describe("The last jump of Redis' clock by more than 1 s that this process noticed."),
      })
      .nullable()
      .describe('Null while Redis does not have the sale.'),
    pendingOperations: z
      .int()
      .describe('Sale operations that are recorded and not applied to Redis yet.'),
  })
  .meta({ id: 'Sale' });
export type SaleJson = z.infer<typeof saleSchema>;

function rejectDuplicates(skus: readonly { sku: string }[], context: z.RefinementCtx): void {
  const seen = new Set<string>();
  for (const [index, { sku }] of skus.entries()) {
    if (seen.has(sku)) {
      context.addIssue({
        code: 'custom',
        path: [index, 'sku'],
        message: 'must not be named twice',
      });
    }
    seen.add(sku);
  }
}
