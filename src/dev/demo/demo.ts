/** The demo: starts a private stack, runs one sale with more buyers than units, and checks every promise. */
import { runUntilStopped } from '../../process/lifecycle.ts';
import { dashboardLine } from '../stack/dashboard-line.ts';
import { STACK_CLOSE_DEADLINE_MS, startStack } from '../stack/stack.ts';
import type { StackDescription } from '../stack/stack-description.ts';
import { runCrowd } from './crowd.ts';
import { RowWatch } from './durable-rows.ts';
import { Operator } from './operator.ts';
import { showProgress } from './progress.ts';
import { type DemoResult, describeResult, everyPromiseHeld } from './result.ts';
import { waitUntilSettled } from './settlement.ts';
import { startShop } from './shop.ts';

export interface DemoOptions {
  /** Stops after the result instead of staying up. */
  exit: boolean;
  fresh: boolean;
  buyers: number;
  units: number;
  /** Starts a shop that takes the payments. Without it, reservations stay reserved. */
  checkout: { holdSeconds: number } | undefined;
}

/** Long enough that no hold expires while the result is shown. */
const HOLD_SECONDS = 3_600;

/** Ends the process, with 0 only if every promise held. */
export async function runDemo(options: DemoOptions): Promise<void> {
  // Every end before the checks is a failure.
  process.exitCode = 1;
  await runUntilStopped(
    async (stopping) => {
      const stack = await startStack(
        {
          fresh: options.fresh,
          env: process.env,
          command: 'npm run demo',
          report: (line) => console.error(line),
        },
        stopping,
      );
      try {
        const result = await runSale(stack.description, options, stopping);
        console.log(describeResult(result));
        if (everyPromiseHeld(result)) process.exitCode = 0;
        if (!options.exit) {
          console.error('The stack stays up; Ctrl-C stops it.');
          console.log(await dashboardLine(stack.description, stopping));
        }
        return stack;
      } catch (error) {
        if (stopping.aborted) {
          console.error('Stopped before the end of the sale: no promise was checked.');
        }
        await stack.close();
        throw error;
      }
    },
    { closeDeadlineMs: STACK_CLOSE_DEADLINE_MS, stayUp: !options.exit },
  );
}

async function runSale(
  stack: StackDescription,
  { buyers, units, checkout }: DemoOptions,
  stopping: AbortSignal,
): Promise<DemoResult> {
  const saleId = `demo-${Date.now().toString(36)}`;
  const operator = new Operator(stack);
  const holdSeconds = checkout?.holdSeconds ?? HOLD_SECONDS;
  await operator.openSale(saleId, { units, holdSeconds }, stopping);
  const shop = checkout && (await startShop({ stack, operator, saleId, holdSeconds }, stopping));
  console.error(`Sale ${saleId}: ${units} units, ${buyers} buyers, one each`);
  let showRows: (rows: number) => void = () => {};
  const watch = new RowWatch(stack.postgresUrl, saleId, (rows) => showRows(rows));
  try {
    const tally = await withProgress('buyers', buyers, (reach) => {
      let settled = 0;
      return runCrowd({ ...stack, saleId }, buyers, () => reach(++settled), stopping);
    });
    const durable = await withProgress('rows', Math.max(1, tally.accepted), (reach) => {
      showRows = reach;
      return watch.waitFor(tally.accepted, tally.lastAcceptedAt, stopping);
    });
    const settlement =
      shop &&
      (await withProgress('payments', Math.max(1, tally.accepted), (reach) =>
        waitUntilSettled({ stack, operator, shop, saleId, holdSeconds }, reach, stopping),
      ));
    const verification = await operator.verify(saleId, stopping);
    return { saleId, buyers, units, tally, durable, settlement, verification };
  } finally {
    await watch.close();
    await shop?.close();
  }
}

async function withProgress<T>(
  label: string,
  total: number,
  work: (reach: (value: number) => void) => Promise<T>,
): Promise<T> {
  const progress = showProgress(label, total);
  try {
    return await work(progress.reach);
  } finally {
    progress.end();
  }
}
