/** Durations on the command line, such as 90s or 7d. */
import { Fault } from '../domain/fault.ts';

const MS_PER_UNIT = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @throws Fault config_invalid */
export function durationMs(text: string): number {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const duration = Number(count) * MS_PER_UNIT[(unit ?? 's') as keyof typeof MS_PER_UNIT];
  // A duration of 0 would sign an expired token, and search nothing.
  if (duration > 0) return duration;
  throw new Fault(
    'config_invalid',
    `The duration "${text}" must be a positive number with a unit, such as 90s, 15m, 1h or 7d.`,
  );
}
