/**
 * Engines with one mistake each, and a scenario in which the mistake breaks a promise, so that the checker must find
 * it. The same scenario without the mistake breaks no promise.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { STALE_MS_MAX } from '../check/case.ts';
import { nowMs } from '../clients/history.ts';
import { MERCHANT_VARIANTS } from './merchants.ts';
import { REPLICA_VARIANTS } from './replicas.ts';
import { HOLD_OVER_MS, PERSISTERS, type Variant } from './variant.ts';

/** For processes to detect a fault of another one. An idle persister polls the stream every 250 ms at most. */
const NOTICE_MS = 700;
/** For a persister to start, and to recover and drain a sale or to refuse. */
const COPY_MS = 5_000;

export const VARIANTS: readonly Variant[] = [
  {
    name: 'scripts ignore the fence',
    mistake: {
      file: 'lua/parts/sale.lua',
      original: 'elseif fields[1] ~= arg_fence then',
      broken: 'elseif false then',
    },
    expected: 'position-reused',
    stock: 1_000,
    // Long enough that the lost end of the file has purchases and no expiries.
    holdSeconds: 12,
    durability: 'fast',
    act: async (steps) => {
      await steps.buyMany(40, 'before');
      for (let i = 0; i < 40; i++) await steps.buy(`one-by-one-${i}`);
      await steps.untilDrained();
      // Sells before a recovery can compare the servers.
      for (const name of PERSISTERS) steps.stack.pause(name);
      await steps.loseData('lose-tail');
      const sold = steps.buyMany(10, 'after');
      // The intact engine sells nothing until a persister has compared the servers.
      await Promise.race([sold, sleep(4 * NOTICE_MS)]);
      for (const name of PERSISTERS) steps.stack.resume(name);
      await sold;
    },
  },
  {
    name: 'a rebuild skips no positions',
    mistake: {
      file: 'persister/recover/compare.ts',
      original: 'const skipped = wasLost ? rules.positionsSkipped : 0;',
      broken: 'const skipped = 0;',
    },
    expected: 'position-reused',
    stock: 100,
    holdSeconds: 2,
    act: async (steps) => {
      await steps.buyMany(5, 'kept');
      await steps.untilDrained();
      for (const name of PERSISTERS) steps.stack.pause(name);
      await steps.buyMany(5, 'forgotten');
      await steps.loseData('flush');
      for (const name of PERSISTERS) steps.stack.resume(name);
      await steps.buyMany(10, 'after');
    },
  },
  {
    name: 'a frozen persister writes lost events',
    mistake: {
      file: 'persister/write/write-batch.ts',
      original: 'progress?.timeline !== guard.timeline ||',
      broken: 'progress === undefined ||',
    },
    expected: 'never-decided',
    stock: 100,
    holdSeconds: 2,
    act: async (steps) => {
      // So that the persister that will be frozen has the sale open. Confirmed, because an expiry would be an event.
      steps.stack.pause('persister-2');
      await steps.transition('confirm', await steps.buyMany(1, 'kept'));
      await steps.untilDrained();
      steps.stack.link('persister-1>postgres').stall();
      await steps.buyMany(5, 'forgotten');
      await sleep(NOTICE_MS);
      await steps.loseData('flush');
      steps.stack.resume('persister-2');
      await steps.untilAtRest();
      // There were no events since, so the numbers of the lost events are free and PostgreSQL accepts them.
      steps.stack.link('persister-1>postgres').heal();
      await sleep(NOTICE_MS);
    },
  },
  {
    name: 'a persister does not compare the identities',
    mistake: {
      file: 'pairing/pairing.ts',
      original: 'if (stored.database !== identity) {',
      broken: 'if (false) {',
    },
    expected: 'consumed-by-a-copy',
    stock: 100,
    holdSeconds: 6,
    act: async (steps) => {
      await steps.buyMany(5, 'early');
      await steps.untilDrained();
      for (const name of PERSISTERS) steps.stack.pause(name);
      await steps.buyMany(5, 'late');
      await steps.runPersisterOnCopy(COPY_MS);
      for (const name of PERSISTERS) steps.stack.resume(name);
    },
  },
  {
    name: 'a recovery does not restore what only Redis has',
    mistake: {
      file: 'persister/recover/restore/restore.ts',
      original: 'if ((row?.version ?? 0) < reservation.version) {',
      broken: 'if (false) {',
    },
    expected: 'lost-reservation',
    stock: 100,
    holdSeconds: 3,
    act: async (steps) => {
      await steps.transition('confirm', await steps.buyMany(3, 'early'));
      const restoreBackup = await steps.takeBackup();
      await steps.transition('confirm', await steps.buyMany(3, 'late'));
      await steps.untilDrained();
      const restored = restoreBackup();
      // The next event shows that PostgreSQL lacks earlier ones.
      await sleep(NOTICE_MS);
      await steps.buyMany(1, 'after');
      await restored;
    },
  },
  {
    name: 'an older version overwrites a row',
    mistake: {
      file: 'persister/write/insert-events.ts',
      original: 'WHERE stored.version < excluded.version`;',
      broken: '`;',
    },
    expected: 'stale-row',
    stock: 100,
    holdSeconds: 60,
    act: async (steps) => {
      const ids = await steps.buyMany(10, 'buyer');
      await steps.untilDrained();
      // One persister reads the confirmations and can write them only after the other has written the cancellations.
      steps.stack.link('persister-1>postgres').stall();
      steps.stack.pause('persister-2');
      await steps.transition('confirm', ids);
      await sleep(NOTICE_MS);
      steps.stack.resume('persister-2');
      await steps.transition('cancel', ids);
      // Includes the confirmations, after the other persister has claimed them.
      await steps.untilDrained();
      steps.stack.link('persister-1>postgres').heal();
      await sleep(NOTICE_MS);
    },
  },
  {
    name: 'acknowledges before the commit',
    mistake: {
      file: 'persister/write/persist.ts',
      original: "  let outcome: WriteOutcome = 'written';",
      broken:
        "  await stream.acknowledge(sorted.entryIds);\n  let outcome: WriteOutcome = 'written';",
    },
    expected: 'history-gap',
    stock: 100,
    holdSeconds: 60,
    act: async (steps) => {
      const ids: string[] = [];
      // A persister that was in the middle of another query reads no events. Then PostgreSQL freezes once more.
      for (let attempt = 1; attempt <= 5; attempt += 1) {
        steps.stack.pause('postgres');
        ids.push(...(await steps.buyMany(10, `buyer-${attempt}`)));
        if (await steps.areDelivered(NOTICE_MS * 5)) break;
        steps.stack.resume('postgres');
        await steps.untilDrained();
      }
      await sleep(NOTICE_MS);
      await steps.stack.kill('persister-1');
      await steps.stack.kill('persister-2');
      // Otherwise the records in Redis would still be at version 1, and a recovery would restore the whole history.
      await steps.transition('confirm', ids);
      steps.stack.resume('postgres');
      await steps.untilDrained();
    },
  },
  {
    name: 'trims pending entries',
    mistake: {
      file: 'lua/stream/trim-events.lua',
      original: "local oldest = redis.call('XPENDING', key_events, arg_group)[2]",
      broken: 'local oldest = nil',
    },
    expected: 'history-gap',
    stock: 100,
    holdSeconds: 60,
    act: async (steps) => {
      steps.stack.link('persister-1>postgres').stall();
      steps.stack.pause('persister-2');
      const ids = await steps.buyMany(10, 'first');
      await sleep(NOTICE_MS);
      steps.stack.resume('persister-2');
      ids.push(...(await steps.buyMany(10, 'second')));
      await sleep(NOTICE_MS);
      await steps.stack.kill('persister-1');
      steps.stack.link('persister-1>postgres').heal();
      await steps.transition('confirm', ids);
      await steps.untilDrained();
    },
  },
  {
    name: 'the client library resends commands',
    mistake: {
      file: 'redis/connection.ts',
      original: `      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,`,
      broken: `      enableOfflineQueue: true,
      autoResendUnfulfilledCommands: true,
      maxRetriesPerRequest: null,`,
    },
    expected: 'decided-twice',
    stock: 100,
    holdSeconds: 1,
    act: async (steps) => {
      // So that both hot paths are connected, and Redis has the script.
      await steps.buyMany(20, 'early');
      // Long enough for the hold to expire; without a key the buyer may then buy again.
      await steps.loseReplyTo('buyer', HOLD_OVER_MS);
      await sleep(NOTICE_MS);
    },
  },
  {
    name: 'idempotency keys are not recorded',
    mistake: {
      file: 'lua/parts/record.lua',
      original: "'\\t' .. items .. tail .. key",
      broken: "'\\t' .. items .. tail",
    },
    expected: 'responses-differ',
    stock: 100,
    holdSeconds: 1,
    act: async (steps) => {
      await steps.buy('buyer', { key: 'cart' });
      await steps.buy('buyer', { key: 'cart' });
    },
  },
  {
    name: 'a request without a key always buys again',
    mistake: {
      file: 'lua/buy/reserve.lua',
      original: "key == '' and keyless_record(buyer, items) or key ~= ''",
      broken: "key ~= ''",
    },
    expected: 'decided-twice',
    stock: 100,
    holdSeconds: 1,
    act: async (steps) => {
      await steps.transition('confirm', await steps.buyMany(1, 'buyer'));
      await steps.buyMany(1, 'buyer');
    },
  },
  {
    name: 'an expired hold returns its units twice',
    mistake: {
      file: 'lua/buy/sweep.lua',
      original: 'baskets_ended[items] = (baskets_ended[items] or 0) + 1',
      broken: 'baskets_ended[items] = (baskets_ended[items] or 0) + 2',
    },
    expected: 'oversold',
    stock: 4,
    holdSeconds: 1,
    act: async (steps) => {
      await steps.buyMany(4, 'forgetful');
      await sleep(HOLD_OVER_MS);
      await steps.transition('confirm', await steps.buyMany(8, 'late'));
    },
  },
  {
    name: 'a payment confirms an expired reservation',
    mistake: {
      file: 'domain/reservation.ts',
      original: "confirm: { from: 'RP', to: 'C' }",
      broken: "confirm: { from: 'RPE', to: 'C' }",
    },
    expected: 'illegal-transition',
    stock: 4,
    holdSeconds: 1,
    act: async (steps) => {
      const ids = await steps.buyMany(2, 'slow');
      await sleep(HOLD_OVER_MS);
      await steps.transition('confirm', ids);
    },
  },
  {
    name: 'another buyer of the same basket gets a unit that nobody has',
    mistake: {
      file: 'lua/parts/changes.lua',
      original: 'if remaining < 0 or place',
      broken: 'if place',
    },
    expected: 'oversold',
    stock: 20,
    holdSeconds: 1,
    act: async (steps) => {
      await steps.transition('confirm', await steps.buyMany(100, 'buyer'));
    },
  },
  {
    name: 'a batch advances the position by one',
    mistake: {
      file: 'lua/parts/changes.lua',
      original: "'position', number(sale.position), 'events'",
      broken: "'position', number(math.min(sale.position, first_position)), 'events'",
    },
    expected: 'position-reused',
    stock: 200,
    holdSeconds: 1,
    act: async (steps) => {
      await steps.buyMany(60, 'first');
      await steps.buyMany(60, 'second');
    },
  },
  {
    name: 'an unknown outcome is reported as sold out',
    mistake: {
      file: 'hot-path/sales/with-sale.ts',
      original: 'PROBLEM_RESPONSES[problemOf(fault)];',
      broken: "PROBLEM_RESPONSES[problemOf(fault) === 'overloaded' ? 'overloaded' : 'sold_out'];",
    },
    expected: 'refused-but-decided',
    stock: 100,
    holdSeconds: 1,
    act: async (steps) => {
      await steps.buyMany(20, 'early');
      await steps.loseReplyTo('buyer', 0);
    },
  },
  {
    name: 'a repeated purchase gets sold out',
    mistake: {
      file: 'hot-path/sales/holders.ts',
      original: 'return this.#buyers.has(fingerprint);',
      broken: 'return false;',
    },
    expected: 'false-refusal',
    stock: 4,
    holdSeconds: 60,
    act: async (steps) => {
      await steps.transition('confirm', await steps.buyMany(4, 'winner'));
      // Enough for both hot paths to read the holders, and to refuse by themselves.
      await steps.buyMany(40, 'late');
      await sleep(STALE_MS_MAX + NOTICE_MS);
      for (let i = 0; i < 5; i++) await steps.buyMany(4, 'winner');
    },
  },
  {
    name: 'the limit is off by one',
    mistake: {
      file: 'lua/parts/limits.lua',
      original: 'if basket.units > allowance then',
      broken: 'if basket.units > allowance + 1 then',
    },
    expected: 'over-limit',
    stock: 100,
    holdSeconds: 1,
    act: async (steps) => {
      await steps.buy('buyer', { key: 'cart-1', quantity: 3 });
      await steps.buy('buyer', { key: 'cart-2' });
    },
  },
  {
    name: 'a SKU has no limit',
    mistake: {
      file: 'lua/parts/limits.lua',
      original: 'if own and basket.quantities[i] > own then',
      broken: 'if false then',
    },
    expected: 'over-limit',
    stock: 100,
    holdSeconds: 1,
    skuLimit: 1,
    act: async (steps) => {
      await steps.buy('buyer', { quantity: 2 });
    },
  },
  {
    name: 'an end can be withdrawn',
    mistake: {
      file: 'lua/operate/apply-operation.lua',
      original: "outcome = 'sale_ended'",
      broken: "outcome = 'applied'",
    },
    expected: 'reopened',
    stock: 100,
    holdSeconds: 1,
    act: async (steps) => {
      const endsAtMs = nowMs() + 2 * NOTICE_MS;
      await steps.moveEnd(endsAtMs);
      await steps.buyMany(4, 'early');
      // Admin records the later end before the end, and Redis gets it after the end.
      const link = steps.stack.link('admin>redis');
      const laterMs = endsAtMs + 3_600_000;
      const applying = link.loseRequestWith(String(laterMs));
      const moved = steps.moveEnd(laterMs);
      await eventually(() => assert.ok(applying.hasCaught));
      link.stall();
      await sleep(endsAtMs - nowMs() + NOTICE_MS);
      await steps.buyMany(4, 'late');
      link.heal();
      await moved;
      await steps.buyMany(4, 'after');
    },
  },
  {
    name: 'a waiting buyer keeps free units from all others',
    mistake: {
      file: 'lua/parts/available.lua',
      original: 'return counts.remaining < counts.smallest_waiting and counts.remaining or 0',
      broken: 'return 0',
    },
    expected: 'false-refusal',
    stock: 3,
    holdSeconds: 5,
    act: async (steps) => {
      const ids = await steps.buyMany(3, 'winner');
      await steps.transition('confirm', ids);
      await steps.join('patient', 3);
      await steps.transition('cancel', ids.slice(0, 1));
      await sleep(STALE_MS_MAX + NOTICE_MS);
      await steps.buyMany(2, 'late');
      await steps.leave('patient');
    },
  },
  {
    name: 'a reservation from the waitlist is shown as a purchase',
    mistake: {
      file: 'domain/reservation.ts',
      original: `startsWith('waitlist ') ? 'waitlist' : 'purchase'`,
      broken: `startsWith('waitlist ') ? 'purchase' : 'purchase'`,
    },
    expected: 'response-contradicts-row',
    stock: 1,
    holdSeconds: 5,
    act: async (steps) => {
      const ids = await steps.buyMany(1, 'winner');
      await steps.join('patient', 1);
      await steps.transition('cancel', ids);
      // Without a key, this gets the reservation from the waitlist.
      await steps.buy('patient');
    },
  },
  {
    name: 'the time of a sale follows a clock that is set back',
    mistake: {
      file: 'lua/parts/time.lua',
      original: '  now, ahead = clock, 0\n  if clock >= newest then return end',
      // A clock that goes back by two seconds every second.
      broken:
        '  now, ahead = clock - math.floor(clock / 1000) * 3000 % 6000, 0\n  if true then return end',
    },
    expected: 'time-went-back',
    stock: 100,
    holdSeconds: 1,
    act: async (steps) => {
      for (let i = 0; i < 10; i++) {
        await steps.buyMany(1, `buyer-${i}`);
        await sleep(300);
      }
    },
  },
  ...MERCHANT_VARIANTS,
  ...REPLICA_VARIANTS,
];
