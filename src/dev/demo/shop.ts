/** The shop of `--checkout`: runs examples/checkout as a process that receives webhooks of the sale. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Fault } from '../../domain/fault.ts';
import { findFreePorts } from '../../process/free-port.ts';
import { ProcessLog } from '../../process/supervisor/process-log.ts';
import { SupervisedProcess } from '../../process/supervisor/supervised-process.ts';
import { locateHome } from '../stack/home.ts';
import type { StackDescription } from '../stack/stack-description.ts';
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
  /** Undefined while the shop restarts. */
  payments(): Promise<PaymentCounts | undefined>;
  close(): Promise<void>;
}

const SHOP_MODULE = fileURLToPath(new URL('../../../examples/checkout/main.ts', import.meta.url));
const HOST = '127.0.0.1';
const READY_DEADLINE_MS = 15_000;
const RESPONSE_TIMEOUT_MS = 2_000;
const POLL_INTERVAL_MS = 50;
const STOP_DEADLINE_MS = 5_000;

export interface ShopSale {
  stack: StackDescription;
  operator: Operator;
  saleId: string;
  holdSeconds: number;
}

/** Registers the webhook, and resolves when the shop accepts requests. */
export async function startShop(
  { stack, operator, saleId, holdSeconds }: ShopSale,
  stopping: AbortSignal,
): Promise<Shop> {
  const [port] = await findFreePorts(1);
  const url = `http://${HOST}:${port}`;
  const secret = await operator.registerWebhook(saleId, `${url}/webhooks`);
  const log = new ProcessLog(locateHome(process.env).logs, 'checkout');
  const shop = new SupervisedProcess(
    {
      name: 'checkout',
      kind: 'node',
      command: process.execPath,
      args: [SHOP_MODULE],
      env: {
        PATH: process.env.PATH,
        HOST,
        PORT: String(port),
        ENGINE_URL: stack.adminUrl,
        MERCHANT_TOKEN: stack.merchantToken,
        WEBHOOK_SECRET: secret,
        SALE_ID: saleId,
        // Some payments take longer than a hold, so that the shop extends it.
        SLOW_MS: String(holdSeconds * 1_000),
      },
      stopSignal: 'SIGTERM',
      stopDeadlineMs: STOP_DEADLINE_MS,
    },
    { log, onUnexpectedExit: (sentence) => console.error(sentence) },
  );
  shop.start();
  const payments = () => readPayments(url);
  const deadline = Date.now() + READY_DEADLINE_MS;
  while (!(await payments())) {
    if (stopping.aborted || Date.now() > deadline) {
      await shop.stop();
      stopping.throwIfAborted();
      throw new Fault('server_unfit', `The checkout did not start; see ${log.path}`);
    }
    await sleep(POLL_INTERVAL_MS);
  }
  return { payments, close: () => shop.stop() };
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
