/** Counts down to the start of a sale, by the clock of the engine. */
import { countdown, FlashSale } from '../src/index.ts';

const engine = new FlashSale({ url: process.env.HOT_PATH_URL! });

// Each read of the sale also reads the engine's clock.
const read = await engine.getSale(process.env.SALE_ID!);
if (read.outcome === 'done' && read.value.startsAt !== null) {
  await countdown(engine.clock, read.value.startsAt, (leftMs) => {
    console.log(leftMs > 0 ? `${Math.ceil(leftMs / 1_000)} s` : 'buy now');
  });
}
