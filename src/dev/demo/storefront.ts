/**
 * The demo with `--storefront`: a shop front on an origin of its own, for a person, beside a crowd of simulated buyers
 * that is slow enough to watch. It stays up until it is stopped.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { findFreePorts } from '../../process/free-port.ts';
import { closeOnce, type RunningProcess, runUntilStopped } from '../../process/lifecycle.ts';
import { dashboardLine } from '../stack/dashboard-line.ts';
import { STACK_CLOSE_DEADLINE_MS, startStack } from '../stack/stack.ts';
import type { StackDescription } from '../stack/stack-description.ts';
import { type Pace, runCrowd } from './crowd.ts';
import { HOST, startExample } from './example-process.ts';
import { Operator } from './operator.ts';
import { describeChecks } from './result.ts';
import { startShop } from './shop.ts';

export interface StorefrontOptions {
  fresh: boolean;
  buyers: number;
  units: number;
  holdSeconds: number;
}

/** Time to open the page before the sale starts. */
const START_DELAY_MS = 20_000;
/** The crowd needs about as long to buy all units. */
const SELL_OUT_SECONDS = 90;
const WAITLISTED = 0.2;
const PEOPLE_PREFIX = 'person-';
const PROBE_TIMEOUT_MS = 2_000;

export async function runStorefrontDemo(options: StorefrontOptions): Promise<void> {
  await runUntilStopped(
    async (stopping) => {
      const [port] = (await findFreePorts(1)) as [number];
      const url = `http://${HOST}:${port}`;
      const { CORS_ORIGINS } = process.env;
      const stack = await startStack(
        {
          fresh: options.fresh,
          // Only with it, pages of the shop front can call the hot path.
          env: { ...process.env, CORS_ORIGINS: CORS_ORIGINS ? `${CORS_ORIGINS},${url}` : url },
          command: 'npm run demo -- --storefront',
          report: (line) => console.error(line),
        },
        stopping,
      );
      try {
        return await openShop(stack, { ...options, port, url }, stopping);
      } catch (error) {
        await stack.close();
        throw error;
      }
    },
    { closeDeadlineMs: STACK_CLOSE_DEADLINE_MS },
  );
}

async function openShop(
  stack: RunningProcess & { description: StackDescription },
  options: StorefrontOptions & { port: number; url: string },
  stopping: AbortSignal,
): Promise<RunningProcess> {
  const { units, buyers, holdSeconds, port, url } = options;
  const { description } = stack;
  const saleId = `demo-${Date.now().toString(36)}`;
  const operator = new Operator(description);
  const startsAt = new Date(Date.now() + START_DELAY_MS);
  await operator.openSale(saleId, { units, holdSeconds, startsAt }, stopping);
  const people = { prefix: PEOPLE_PREFIX, paySecret: randomBytes(24).toString('hex') };
  const shop = await startShop(
    { stack: description, operator, saleId, holdSeconds, people },
    stopping,
  );
  const stopStorefront = await startExample(
    {
      name: 'storefront',
      port,
      env: {
        HOT_PATH_URL: description.hotPathUrl,
        SALE_ID: saleId,
        JWT_SECRET: description.jwtSecret,
        CHECKOUT_URL: shop.url,
        PAY_SECRET: people.paySecret,
        PEOPLE_PREFIX,
      },
      isReady: () => responds(url),
    },
    stopping,
  ).catch(async (error: unknown) => {
    await shop.close();
    throw error;
  });
  console.log(`shop front  ${url}`);
  console.log(await dashboardLine(description, stopping));
  console.error(
    `Open the shop front. The sale of ${units} units starts at ${startsAt.toLocaleTimeString()}, with ${buyers} simulated buyers beside you. Ctrl-C stops everything.`,
  );
  const crowd = runBeside(operator, { sale: { ...description, saleId }, startsAt, ...options });
  return {
    close: closeOnce(async () => {
      await crowd.stop();
      await stopStorefront();
      await shop.close();
      await stack.close();
    }),
  };
}

async function responds(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) }).catch(
    () => undefined,
  );
  await response?.body?.cancel();
  return response?.ok ?? false;
}

interface CrowdPlan {
  sale: StackDescription & { saleId: string };
  startsAt: Date;
  units: number;
  buyers: number;
}

/** Runs the crowd from the start of the sale on, and verifies the sale when the last buyer has a response. */
function runBeside(
  operator: Operator,
  { sale, startsAt, units, buyers }: CrowdPlan,
): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const { signal } = stopping;
  const pace: Pace = { perSecond: units / SELL_OUT_SECONDS, waitlisted: WAITLISTED };
  const run = async () => {
    // A second later, so that a person can be the first.
    await sleep(startsAt.getTime() - Date.now() + 1_000, undefined, { signal });
    const tally = await runCrowd(sale, buyers, () => undefined, signal, pace);
    const { ok, checks } = await operator.verify(sale.saleId, signal);
    console.log(
      `The crowd has left: ${tally.accepted} of its ${buyers} buyers got a unit at once.`,
    );
    console.log(describeChecks(checks));
    console.log(ok ? 'Every promise held.' : 'NOT every promise held.');
    if (!ok) process.exitCode = 1;
  };
  const ended = run().catch((error: unknown) => {
    if (signal.aborted) return;
    process.exitCode = 1;
    console.error('The crowd ended early:', error);
  });
  return {
    stop: async () => {
      stopping.abort();
      await ended;
    },
  };
}
