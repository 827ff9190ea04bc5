/** A jump of Redis' clock, or a clock that differs, is reported once; a slow network is neither. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { pino } from 'pino';
import { type ClockEvent, ClockWatch } from '../../src/redis/clock-watch.ts';

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 0, 1);

function watch() {
  const logged: string[] = [];
  const events: ClockEvent[] = [];
  const stream = new Writable({
    write: (line, _encoding, done) => {
      logged.push(String(line));
      done();
    },
  });
  const clockWatch = new ClockWatch(pino({ level: 'warn' }, stream), (event) => events.push(event));
  return {
    logged,
    events,
    clockWatch,
    /** Redis' clock is `offsetMs` ahead; the reading takes `tookMs`. */
    read: (atMs: number, offsetMs: number, tookMs = 1) =>
      clockWatch.compare(
        { serverMs: START_MS + atMs + offsetMs, sentAt: atMs, receivedAt: atMs + tookMs },
        START_MS + atMs + tookMs,
        'redis:6379',
      ),
  };
}

test('a clock an hour ahead and back: two jumps and one difference, with their milliseconds', () => {
  const { logged, events, clockWatch, read } = watch();
  for (const [atMs, offsetMs] of [
    [0, 0],
    [2_000, 0],
    [4_000, HOUR_MS],
    [6_000, HOUR_MS],
    [8_000, 0],
    [10_000, 0],
  ] as const) {
    read(atMs, offsetMs);
  }
  assert.deepEqual(events, ['jump', 'difference', 'jump']);
  const jumps = logged
    .map((line) => JSON.parse(line))
    .filter(({ msg }) => msg === 'redis clock jumped');
  assert.deepEqual(
    jumps.map(({ jumpMs }) => Math.round(jumpMs / 10)),
    [HOUR_MS / 10, -HOUR_MS / 10],
  );
  assert.equal(clockWatch.clock!.lastJump!.ms, jumps[1].jumpMs);
  assert.ok(Math.abs(clockWatch.clock!.differenceMs) <= 1);
});

test('slow readings, a slow process and corrections of up to a second are no jumps', () => {
  const { logged, read } = watch();
  read(0, 0);
  read(2_000, 0, 480);
  read(4_000, 900, 5_000);
  read(60_000, 900);
  read(62_000, -50, 400);
  assert.deepEqual(logged, []);
});

test('a jump during slow readings is noticed by the next reading', () => {
  const { events, read } = watch();
  read(0, 0);
  read(2_000, 5_000, 3_000);
  read(8_000, 5_000);
  assert.ok(events.includes('jump'));
});
