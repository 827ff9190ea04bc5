/** The shop front's process: reads its settings and serves until it is stopped. */
import { startStorefront } from './server.ts';

const env = process.env;
const REQUIRED = ['HOT_PATH_URL', 'SALE_ID', 'JWT_SECRET', 'CHECKOUT_URL', 'PAY_SECRET'];
const missing = REQUIRED.filter((name) => !env[name]);
if (missing.length > 0) {
  console.error(
    `These variables must be set: ${missing.join(', ')}. See examples/storefront/README.md.`,
  );
  process.exit(1);
}

const server = await startStorefront({
  host: env.HOST || '127.0.0.1',
  port: Number(env.PORT || 4_001),
  hotPathUrl: env.HOT_PATH_URL!,
  saleId: env.SALE_ID!,
  jwtSecret: env.JWT_SECRET!,
  checkoutUrl: env.CHECKOUT_URL!,
  paySecret: env.PAY_SECRET!,
  peoplePrefix: env.PEOPLE_PREFIX || 'person-',
});
console.log(`the shop front is at ${server.url}`);

const stop = () => void server.close().then(() => process.exit());
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
// Started with an IPC channel, it ends with its parent.
if (process.connected) process.once('disconnect', stop);
