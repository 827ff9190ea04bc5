/** Buys one unit, and says what became of it. */
import { FlashSale } from '../src/index.ts';

const engine = new FlashSale({ url: process.env.HOT_PATH_URL!, token: process.env.TOKEN });
const saleId = process.env.SALE_ID!;

const bought = await engine.buy(
  saleId,
  { sku: 'phone', quantity: 1 },
  { onRetry: ({ waitMs }) => console.log(`trying again in ${Math.round(waitMs)} ms`) },
);
switch (bought.outcome) {
  case 'done':
    console.log(`number ${bought.value.position}; pay before ${bought.value.expiresAt}`);
    break;
  case 'refused':
    // The codes of this operation are known to the compiler.
    if (bought.problem.code === 'sold_out') console.log('sold out');
    else console.log(bought.problem.title);
    break;
  case 'unknown':
    // The purchase may exist. The same key asks for the same purchase.
    console.log(
      'still unknown:',
      (await engine.buy(saleId, { sku: 'phone' }, { key: bought.key })).outcome,
    );
}
