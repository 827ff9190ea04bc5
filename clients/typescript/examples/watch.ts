/** Follows a sale and the buyer's own reservations. */
import { FlashSale } from '../src/index.ts';

const engine = new FlashSale({ url: process.env.HOT_PATH_URL!, token: process.env.TOKEN });
const stopping = new AbortController();

engine.watch(process.env.SALE_ID!, {
  signal: stopping.signal,
  onChange: ({ connection, problem, isComplete, sale, reservations, waits }) => {
    if (connection === 'offline') console.log('connecting again:', problem?.code ?? 'no response');
    for (const { sku, remaining } of sale?.skus ?? []) console.log(`${sku}: ${remaining} left`);
    for (const { position, status } of reservations) console.log(`number ${position}: ${status}`);
    for (const { sku, place } of waits) console.log(`${sku}: number ${place} on the waitlist`);
    // A page goes on; this example has seen enough.
    if (isComplete) stopping.abort();
  },
});
