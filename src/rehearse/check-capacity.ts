/**
 * Measures wins and refusals a second, each with more load than the expected crowd brings, and compares. The load is
 * bounded: in rate, in time, and in connections.
 */
import { buyUrl, type RehearsalContext } from './context.ts';
import { ms, perSecond } from './findings.ts';
import { type LoadResult, runLoad } from './load.ts';
import type { Settings } from './settings.ts';

/** The load is this many times what the crowd needs, so that the result has a reserve. */
const HEADROOM = 1.5;
/** Units that a load sells at most, and requests a second that it sends at most. */
const UNITS_MAX = 20_000;
const RATE_MAX = 50_000;
/** Fewer requests a second would show a moment's delay, and no rate. */
const RATE_MIN = 50;
/** Buyers in rotation during the refusals: enough that no limit per buyer refuses one. */
const REFUSED_BUYERS_MAX = 20_000;
const REFUSED_BUYERS_MIN = 50;
/** More requests a second of one buyer would meet BUYER_REQUESTS_PER_SECOND. */
const BUYER_RATE_MAX = 20;

export interface Need {
  winsPerSecond: number;
  refusalsPerSecond: number;
}

/** Without the ids, which may be thousands. */
type Load = Omit<LoadResult, 'reservationIds'>;

export interface Capacity {
  need: Need;
  wins: Load | undefined;
  refusals: Load | undefined;
}

/** What the crowd needs if all of it must have a response in time. */
export function needOf({ crowd: { buyers, units, seconds } }: Settings): Need {
  return { winsPerSecond: units / seconds, refusalsPerSecond: (buyers - units) / seconds };
}

/** Units that the load of wins sells, and so the sale must have. */
export function unitsOfLoad(settings: Settings): number {
  const wanted = Math.ceil(rateOf(needOf(settings).winsPerSecond) * settings.loadSeconds);
  const most = Math.min(UNITS_MAX, settings.tokens.most / 3);
  return Math.max(1, Math.floor(Math.min(wanted, most)));
}

/** Sells all units that are left. */
export async function checkWins(context: RehearsalContext, units: number): Promise<Load> {
  const { settings, findings } = context;
  const need = needOf(settings).winsPerSecond;
  const { reservationIds, ...result } = await load(context, {
    tokens: settings.tokens.take(units),
    isOnce: true,
    perSecond: rateOf(need),
  });
  for (const reservationId of reservationIds) context.sold.add(reservationId);
  reportCapacity(context, 'wins', result, need);
  const others = Object.entries(result.outcomes).filter(([outcome]) => outcome !== 'reserved');
  if (others.length > 0) {
    findings.fail(
      'wins: responses',
      `instead of a reservation: ${listed(others)}`,
      'There were enough units for every buyer of this load. See the log of the hot path.',
    );
  }
  return result;
}

/** No units are left, so every buyer must be refused. */
export async function checkRefusals(context: RehearsalContext): Promise<Load> {
  const { settings, findings } = context;
  const need = needOf(settings).refusalsPerSecond;
  const rate = rateOf(need);
  const buyers = Math.min(REFUSED_BUYERS_MAX, Math.max(REFUSED_BUYERS_MIN, rate / BUYER_RATE_MAX));
  const { reservationIds, ...result } = await load(context, {
    tokens: settings.tokens.take(Math.ceil(buyers)),
    isOnce: false,
    perSecond: rate,
  });
  for (const reservationId of reservationIds) context.sold.add(reservationId);
  reportCapacity(context, 'refusals', result, need);
  const others = Object.entries(result.outcomes).filter(([outcome]) => outcome !== 'sold_out');
  if (others.length > 0) {
    findings.fail(
      'refusals: responses',
      `instead of sold_out: ${listed(others)}`,
      'Every buyer of this load must be refused, because no unit is left.',
    );
  }
  return result;
}

function load(
  { settings, saleId, stopping }: RehearsalContext,
  order: { tokens: string[]; isOnce: boolean; perSecond: number },
): Promise<LoadResult> {
  return runLoad(
    {
      ...order,
      urls: settings.hotPathUrls.map((url) => buyUrl(url, saleId)),
      idempotencyKey: 'rehearsal-load',
      seconds: settings.loadSeconds,
    },
    stopping,
  );
}

function rateOf(needPerSecond: number): number {
  return Math.min(RATE_MAX, Math.max(RATE_MIN, HEADROOM * needPerSecond));
}

function reportCapacity(
  { findings, settings: { p99Ms: most } }: RehearsalContext,
  name: 'wins' | 'refusals',
  result: Load,
  need: number,
): void {
  const { perSecond: rate, seconds, p99Ms, retries, failures, isLimitedHere } = result;
  const counted = `${perSecond(rate)} for ${seconds.toFixed(1)} s, the crowd needs ${perSecond(need)}`;
  const repeated = retries === 0 ? '' : `; ${retries} repeated after 503, 429 or no response`;
  findings.expect(
    name,
    rate >= need,
    `${counted}${repeated}`,
    isLimitedHere || need * HEADROOM > RATE_MAX
      ? 'This machine, the generator of the load, was the limit: it says nothing about the system. Repeat the rehearsal on a larger machine.'
      : 'The system was the limit: this machine had time left. Add hot paths, or give the crowd more seconds. On one machine they share its cores: send the load from another one.',
  );
  findings.expect(
    `${name}: p99`,
    p99Ms <= most,
    `${ms(p99Ms)} at that rate, at most ${ms(most)}`,
    isLimitedHere
      ? 'This machine was busy itself, so the time may be its own. Repeat the rehearsal on a larger machine.'
      : 'Buyers wait too long at the rate of the expected crowd. Add hot paths; see the disk of Redis above.',
  );
  if (Object.keys(failures).length > 0) {
    findings.fail(
      `${name}: connections`,
      `requests without a response: ${listed(Object.entries(failures))}`,
      'A load balancer or a limit of open files ends connections. Buyers would have to repeat.',
    );
  }
}

function listed(counts: readonly (readonly [string, number])[]): string {
  return counts.map(([name, count]) => `${count} × ${name}`).join(', ');
}
