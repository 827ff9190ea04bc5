/** The shop of `--checkout`: runs examples/checkout as a process that receives webhooks of the sale. */
import { findFreePorts } from '../../process/free-port.ts';
import type { StackDescription } from '../stack/stack-description.ts';
import { HOST, startExample } from './example-process.ts';
import type { Operator } from './operator.ts';

/** Payments by outcome; see examples/checkout. */
export interface PaymentCounts {
  confirmed: number;
  cancelled: number;
  abandoned: number;
  refunded: number;
  extended: number;
  failed: number;
}

export interface Shop {
  url: string;
  /** Undefined while the shop restarts. */
  payments(): Promise<PaymentCounts | undefined>;
  close(): Promise<void>;
}

const RESPONSE_TIMEOUT_MS = 2_000;

export interface ShopSale {
  stack: StackDescription;
  operator: Operator;
  saleId: string;
  holdSeconds: number;
  /** Buyers whose id begins with the prefix pay through the shop front, which has the secret. */
  people?: { prefix: string; paySecret: string };
}

/** Registers the webhook, and resolves when the shop accepts requests. */
export async function startShop(
  { stack, operator, saleId, holdSeconds, people }: ShopSale,
  stopping: AbortSignal,
): Promise<Shop> {
  const [port] = (await findFreePorts(1)) as [number];
  const url = `http://${HOST}:${port}`;
  const secret = await operator.registerWebhook(saleId, `${url}/webhooks`);
  const payments = () => readPayments(url);
  const close = await startExample(
    {
      name: 'checkout',
      port,
      env: {
        ENGINE_URL: stack.adminUrl,
        MERCHANT_TOKEN: stack.merchantToken,
        WEBHOOK_SECRET: secret,
        SALE_ID: saleId,
        // Some payments take longer than a hold, so that the shop extends it.
        SLOW_MS: String(holdSeconds * 1_000),
        ...(people && { PAY_SECRET: people.paySecret, PEOPLE_PREFIX: people.prefix }),
      },
      isReady: async () => (await payments()) !== undefined,
    },
    stopping,
  );
  return { url, payments, close };
}

async function readPayments(url: string): Promise<PaymentCounts | undefined> {
  try {
    const response = await fetch(`${url}/payments`, {
      signal: AbortSignal.timeout(RESPONSE_TIMEOUT_MS),
    });
    return (await response.json()) as PaymentCounts;
  } catch {
    return undefined;
  }
}
