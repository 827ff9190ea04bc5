/**
 * The server's time. The browser's clock may be wrong by minutes, so every countdown uses the times that the server sends
 * with its events. Between two of them, the browser's monotonic clock measures how much time has passed.
 */
import { computed, signal } from '@preact/signals';

const TICK_MS = 200;
/** About ten seconds of events. */
const SAMPLES_MAX = 20;

/** What to add to `performance.now()` to get the server's time, from each of the last events. @type {number[]} */
let samples = [];
let offsetMs = Date.now() - performance.now();
let isMeasured = false;

/** Whether the server has sent its time. Until then, the browser's clock is all that is known. */
export const isServerTimeKnown = signal(false);
const tick = signal(serverNow());

/** The server's time in whole seconds: what reads it is shown again once a second. */
export const secondNow = computed(() => Math.floor(tick.value / 1_000) * 1_000);

/** Milliseconds since the epoch. */
export function serverNow() {
  return performance.now() + offsetMs;
}

/**
 * An event with the server's time has just arrived. It was on its way for some time, so the largest difference is the
 * most exact one.
 *
 * @param {string | undefined} at
 */
export function noteServerTime(at) {
  const ms = at === undefined ? Number.NaN : Date.parse(at);
  if (Number.isNaN(ms)) return;
  samples = [...samples, ms - performance.now()].slice(-SAMPLES_MAX);
  isMeasured = true;
  offsetMs = Math.max(...samples);
  isServerTimeKnown.value = true;
}

/** The header `Date` of a response has whole seconds only; it is used until an event arrives. @param {string | null} date */
export function noteDateHeader(date) {
  if (isMeasured || date === null) return;
  const ms = Date.parse(date);
  if (Number.isNaN(ms)) return;
  offsetMs = ms + 500 - performance.now();
  isServerTimeKnown.value = true;
}

/** How far the browser's clock is ahead of the server's. */
export function browserAheadMs() {
  return Date.now() - serverNow();
}

/**
 * The time of a sale, which can differ from the process' time: it never goes back when Redis' clock does.
 *
 * @param {{ clock?: { aheadMs: number, differenceMs: number } | null }} sale
 */
export function saleOffsetMs({ clock }) {
  return clock ? clock.aheadMs + clock.differenceMs : 0;
}

setInterval(() => {
  tick.value = serverNow();
}, TICK_MS);
