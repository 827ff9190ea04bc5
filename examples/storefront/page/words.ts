/** What buyers read: problems of the engine, money and time. */
import type { Problem, Reservation } from '../../../clients/typescript/src/index.ts';

const PROBLEMS: Partial<Record<Problem['code'], string>> = {
  unauthorized: 'The shop could not sign you in. Load the page again.',
  sold_out: 'Sold out. You can join the waitlist.',
  insufficient_stock: 'Not enough units are left.',
  limit_reached: 'You have as many as one buyer may have.',
  sale_not_started: 'The sale has not started yet.',
  sale_paused: 'The sale is paused. It may resume later.',
  sale_ended: 'The sale has ended.',
  sale_not_found: 'This sale does not exist.',
  too_many_holds: 'You have let too many holds end. Try again later.',
  rate_limited: 'Too many requests. Wait a moment.',
  overloaded: 'The shop is very busy. Trying again…',
  recovering: 'The shop is recovering from a failure. What you have is safe. Trying again…',
  unavailable: 'The shop does not respond. Trying again…',
};

export function describeProblem(problem: Problem | undefined): string {
  if (!problem) return 'No connection. Trying again…';
  return PROBLEMS[problem.code] ?? problem.title;
}

const STATUSES: Record<Reservation['status'], string> = {
  reserved: 'Held for you',
  confirmed: 'Paid',
  cancelled: 'Given back',
  expired: 'The hold has ended',
};

export function describeStatus({ status, source }: Reservation): string {
  const isFromWaitlist = source === 'waitlist' && status === 'reserved';
  return isFromWaitlist ? `${STATUSES[status]} from the waitlist` : STATUSES[status];
}

/** `amount` is in minor units. */
export function formatMoney(amount: number, currency: string): string {
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency });
  const { maximumFractionDigits: digits = 2 } = format.resolvedOptions();
  return format.format(amount / 10 ** digits);
}

/** Rounded up, so that it shows 00:00 only at the end. */
export function formatDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  const twoDigits = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(seconds / 3_600);
  const minutes = twoDigits(Math.floor(seconds / 60) % 60);
  return `${hours > 0 ? `${hours}:` : ''}${minutes}:${twoDigits(seconds % 60)}`;
}

export function unitsOf(count: number): string {
  return count === 1 ? '1 unit' : `${count} units`;
}
