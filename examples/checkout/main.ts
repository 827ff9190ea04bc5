/** The shop's process: reads its settings, resumes open reservations and receives webhooks until it is stopped. */
import { Checkout } from './checkout.ts';
import { MerchantApi } from './merchant-api.ts';
import { PaymentProvider } from './payment-provider.ts';
import { startServer } from './server.ts';
import { Shopper } from './simulation.ts';

const settings = readSettings(process.env);
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort());
// Started with an IPC channel, it ends with its parent.
if (process.connected) process.once('disconnect', () => stopping.abort());

const engine = new MerchantApi(settings.engineUrl, settings.merchantToken);
const checkout = new Checkout(
  {
    engine,
    provider: new PaymentProvider({
      refused: settings.refusedShare,
      lost: settings.lostShare,
      slow: settings.slowShare,
      slowMs: settings.slowMs,
    }),
    shopper: new Shopper({
      abandoning: settings.abandonedShare,
      thinkingMs: settings.thinkingMs,
      ...(settings.peoplePrefix && { peoplePrefix: settings.peoplePrefix }),
    }),
  },
  stopping.signal,
);
const server = await startServer(settings, checkout);
console.log(`receiving webhooks at ${server.url}/webhooks`);
checkout.resume(settings.saleId).catch((error: unknown) => {
  if (!stopping.signal.aborted) console.error('open reservations were not resumed:', error);
});

stopping.signal.addEventListener('abort', () => {
  void (async () => {
    await server.close();
    await engine.close();
    process.exit();
  })();
});

function readSettings(env: NodeJS.ProcessEnv) {
  const missing = ['ENGINE_URL', 'MERCHANT_TOKEN', 'WEBHOOK_SECRET'].filter((name) => !env[name]);
  if (missing.length > 0) {
    console.error(
      `These variables must be set: ${missing.join(', ')}. See examples/checkout/README.md.`,
    );
    process.exit(1);
  }
  const percent = (name: string, fallback: number) => Number(env[name] || fallback) / 100;
  return {
    host: env.HOST || '127.0.0.1',
    port: Number(env.PORT || 4_000),
    engineUrl: env.ENGINE_URL!,
    merchantToken: env.MERCHANT_TOKEN!,
    webhookSecret: env.WEBHOOK_SECRET!,
    /** With it, a shop front sends the payments of people. */
    paySecret: env.PAY_SECRET || undefined,
    /** The ids of people begin with it; they pay at the shop front. By default, all buyers are simulated. */
    peoplePrefix: env.PEOPLE_PREFIX || undefined,
    /** Only reservations of this sale are resumed at start; by default those of all sales. */
    saleId: env.SALE_ID || undefined,
    abandonedShare: percent('ABANDONED_PERCENT', 3),
    refusedShare: percent('REFUSED_PERCENT', 20),
    lostShare: percent('LOST_PERCENT', 5),
    slowShare: percent('SLOW_PERCENT', 1),
    slowMs: Number(env.SLOW_MS || 20_000),
    thinkingMs: Number(env.THINKING_MS || 3_000),
  };
}
