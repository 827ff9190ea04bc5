/** Waits for units of a SKU that is sold out, and leaves the waitlist again. */
import { FlashSale } from '../src/index.ts';

const engine = new FlashSale({ url: process.env.HOT_PATH_URL!, token: process.env.TOKEN });
const saleId = process.env.SALE_ID!;

const joined = await engine.joinWaitlist(saleId, { sku: 'phone', quantity: 1 });
if (joined.outcome === 'done') console.log(`number ${joined.value.place} on the waitlist`);
else console.log(joined.problem?.title ?? 'no response');

const left = await engine.leaveWaitlist(saleId, { signal: AbortSignal.timeout(5_000) });
if (left.outcome === 'done') console.log(`left ${left.value.left} waitlist`);
