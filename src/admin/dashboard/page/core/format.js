/** Numbers, times and durations as text, in the language of the browser. Times are shown in the browser's time zone. */

const count = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 });
const oneDigit = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const twoDigits = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const timeOfDay = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const dateAndTime = new Intl.DateTimeFormat(undefined, {
  dateStyle: 'medium',
  timeStyle: 'medium',
});
const exact = new Intl.DateTimeFormat(undefined, {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: 'numeric',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  timeZoneName: 'short',
});

export const UNKNOWN = '–';

/** @param {number | null | undefined} value */
export function formatCount(value) {
  return value === null || value === undefined ? UNKNOWN : count.format(value);
}

/** Short, for where there is little room: `1.2M`. @param {number | null | undefined} value */
export function formatCompact(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value < 10_000 ? count.format(Math.round(value)) : compact.format(value);
}

/**
 * @param {number | null | undefined} value
 * @param {string} one
 * @param {string} [many]
 */
export function formatUnits(value, one, many = `${one}s`) {
  return `${formatCount(value)} ${value === 1 ? one : many}`;
}

/** @param {number | null | undefined} share */
export function formatPercent(share) {
  return share === null || share === undefined || Number.isNaN(share)
    ? UNKNOWN
    : percent.format(share);
}

/** @param {number | null | undefined} ms */
export function formatMs(ms) {
  if (ms === null || ms === undefined) return UNKNOWN;
  if (ms >= 1_000) return `${oneDigit.format(ms / 1_000)} s`;
  return `${(ms < 10 ? twoDigits : oneDigit).format(ms)} ms`;
}

/** @param {string | number | null | undefined} time */
export function formatTime(time) {
  return time === null || time === undefined ? UNKNOWN : timeOfDay.format(new Date(time));
}

/** @param {string | number | null | undefined} time */
export function formatDateTime(time) {
  return time === null || time === undefined ? UNKNOWN : dateAndTime.format(new Date(time));
}

/** With milliseconds and the time zone. @param {string | number | null | undefined} time */
export function formatExact(time) {
  return time === null || time === undefined ? UNKNOWN : exact.format(new Date(time));
}

/** As a clock shows it: `2 d 03:04:05`. Never negative. @param {number} ms */
export function formatCountdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  const two = (/** @type {number} */ value) => String(value).padStart(2, '0');
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor((seconds % 86_400) / 3_600);
  const clock = `${two(hours)}:${two(Math.floor((seconds % 3_600) / 60))}:${two(seconds % 60)}`;
  return days > 0 ? `${count.format(days)} d ${clock}` : clock;
}

/** In words, rounded to its two largest units: `5 minutes`, `1 hour 30 minutes`. @param {number} seconds */
export function formatDuration(seconds) {
  const whole = Math.round(seconds);
  /** @type {[number, string][]} */
  const units = [
    [Math.floor(whole / 86_400), 'day'],
    [Math.floor((whole % 86_400) / 3_600), 'hour'],
    [Math.floor((whole % 3_600) / 60), 'minute'],
    [whole % 60, 'second'],
  ];
  const shown = units.filter(([value]) => value > 0).slice(0, 2);
  if (shown.length === 0) return '0 seconds';
  return shown.map(([value, name]) => formatUnits(value, name)).join(' ');
}

/** `positionsSkipped` and `positions_skipped` read `positions skipped`. @param {string} name */
export function wordsOf(name) {
  return name.replaceAll('_', ' ').replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
