/** Live messages stay on time while the event loop is busy: no group waits for the delays of all others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BroadcastSchedule } from '../../src/hot-path/live/broadcast-schedule.ts';

const GROUPS = 16;

test('a round stays short while each timer is late, and no group takes two turns within 250 ms', async () => {
  const turns = Array.from({ length: GROUPS }, (): number[] => []);
  const schedule = new BroadcastSchedule(
    (group) => turns[group]!.push(performance.now()),
    () => 100,
  );
  schedule.start();
  // Each iteration fires one late timer, so one group at a time would take three turns.
  for (let iteration = 0; iteration < 48; iteration++) {
    const busyUntil = performance.now() + 40;
    while (performance.now() < busyUntil);
    await sleep(1);
  }
  schedule.stop();
  for (const times of turns) {
    assert.ok(times.length >= 4, `only ${times.length} turns`);
    const pauses = times.slice(1).map((at, index) => at - times[index]!);
    assert.ok(Math.min(...pauses) >= 250, `two turns within ${Math.min(...pauses)} ms`);
  }
});
