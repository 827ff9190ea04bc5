/** Mistakes in what merchants do to reservations, also in an archived sale, and in the cool-down of buyers who hold and release in a loop. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Steps } from './steps.ts';
import { HOLD_OVER_MS, type Variant } from './variant.ts';

export const MERCHANT_VARIANTS: readonly Variant[] = [
  {
    name: 'a cool-down lasts no time',
    mistake: {
      file: 'lua/parts/cool-down.lua',
      original: 'local WINDOW_MS = 600000',
      broken: 'local WINDOW_MS = 0',
    },
    expected: 'cool-down-ignored',
    stock: 100,
    holdSeconds: 60,
    act: (steps) => loop(steps, async () => undefined),
  },
  {
    name: 'refunds lead to a cool-down',
    mistake: {
      file: 'lua/parts/buyer-index.lua',
      original: "reserved = record.version == 2 and record.reserved or '' }",
      broken: 'reserved = record.reserved }',
    },
    expected: 'false-refusal',
    stock: 100,
    holdSeconds: 60,
    act: (steps) => loop(steps, (id) => steps.transition('confirm', [id])),
  },
  {
    name: 'units that leave the sale return to it',
    mistake: {
      file: 'lua/buy/transition.lua',
      original: "local withdraws = arg_restock == '0'",
      broken: 'local withdraws = false',
    },
    expected: 'counts-differ',
    stock: 4,
    holdSeconds: 60,
    act: async (steps) => {
      await steps.transition('cancel', await steps.buyMany(2, 'buyer'), { restock: false });
    },
  },
  {
    name: 'a part is cancelled once more by each repetition',
    mistake: {
      file: 'lua/buy/transition.lua',
      original: 'if has_part then new_note =',
      broken: 'if false then new_note =',
    },
    expected: 'decided-twice',
    stock: 4,
    holdSeconds: 60,
    act: async (steps) => {
      const bought = await steps.buy('buyer', { quantity: 3 });
      const ids = bought === undefined ? [] : [bought];
      await steps.transition('confirm', ids);
      for (let time = 0; time < 2; time += 1) await steps.cancelPart(ids);
    },
  },
  {
    name: 'a second payment replaces the first',
    mistake: {
      file: 'lua/buy/transition.lua',
      original: "if recorded and recorded ~= '' then return",
      broken: 'if false then return',
    },
    expected: 'payment-differs',
    stock: 4,
    holdSeconds: 60,
    act: async (steps) => {
      const ids = await steps.buyMany(1, 'buyer');
      await steps.transition('confirm', ids);
      for (const paymentRef of ['first', 'second']) {
        await steps.transition('confirm', ids, { paymentRef });
      }
    },
  },
  {
    name: 'a late payment takes units that others have',
    mistake: {
      file: 'lua/parts/reclaim.lua',
      original: 'if words.sold_out then return',
      broken: 'if false then return',
    },
    expected: 'oversold',
    stock: 2,
    holdSeconds: 1,
    act: async (steps) => {
      const ids = await steps.buyMany(2, 'slow');
      await sleep(HOLD_OVER_MS);
      await steps.transition('confirm', await steps.buyMany(2, 'fast'));
      await steps.transition('confirm', ids, { paymentRef: 'late', reclaim: true });
    },
  },
  {
    name: 'a refund in an archived sale is not written',
    mistake: {
      file: 'archive/transition-archived.ts',
      original: `    await changeWithDigest(transaction, saleId, [reservationId], () =>
      write(transaction, found, changed, request),
    );`,
      broken: '',
    },
    expected: 'lost-transition',
    stock: 4,
    holdSeconds: 60,
    act: async (steps) => {
      const ids = await steps.buyMany(2, 'buyer');
      await steps.transition('confirm', ids);
      await steps.untilAtRest();
      await steps.endAndArchive();
      await steps.transition('cancel', ids.slice(0, 1));
    },
  },
];

/** Buys and cancels once more than leads to a cool-down. `settle` is called in between. */
async function loop(steps: Steps, settle: (reservationId: string) => Promise<void>): Promise<void> {
  for (let round = 1; round <= 21; round++) {
    const id = await steps.buy('buyer', { key: `round-${round}` });
    if (id === undefined) return;
    await settle(id);
    await steps.transition('cancel', [id]);
  }
}
