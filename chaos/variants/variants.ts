/**
 * Engines with one mistake each, and for each a scenario in which the mistake does its harm, so that the checker has
 * to find it. The same scenario without the mistake breaks nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { reserve } from '../../src/lua/buy/reserve.ts';
import { STALE_MS_MAX } from '../check/case.ts';
import type { ViolationKind } from '../check/violation.ts';
import { nowMs, reservationsIn } from '../clients/history.ts';
import { type Loss, loseMemory } from '../faults/losses.ts';
import type { MemoryFaultKind } from '../faults/schedule.ts';
import type { RunContext } from '../run.ts';
import type { Durability } from '../stack.ts';
import type { Mistake } from './broken-copy.ts';

export interface Variant {
  name: string;
  mistake: Mistake;
  /** What the checker must find, whatever else it finds. */
  expected: ViolationKind;
  stock: number;
  holdSeconds: number;
  durability?: Durability;
  act: (stage: Stage) => Promise<void>;
}

/** A variant's scene, with the few moves that all scenarios are made of. */
export class Stage {
  readonly #scene: RunContext;
  readonly losses: Loss[] = [];

  constructor(scene: RunContext) {
    this.#scene = scene;
    scene.client.patienceEndsMs = nowMs() + PATIENCE_MS;
  }

  get stack(): RunContext['stack'] {
    return this.#scene.stack;
  }

  /** Until there is an answer. */
  async buy(buyerId: string, choices: BuyChoices = {}): Promise<string | undefined> {
    const exchange = await this.#scene.client.sendUntilDecided(
      buyOf(buyerId, choices),
      this.#scene.random,
    );
    return exchange && reservationsIn(exchange)[0]?.reservationId;
  }

  /** So many buyers at the same time. Returns the ids of their reservations. */
  async buyMany(count: number, prefix: string): Promise<string[]> {
    const buyers = Array.from({ length: count }, (_, index) => `${prefix}-${index + 1}`);
    const ids = await Promise.all(buyers.map((buyerId) => this.buy(buyerId)));
    return ids.filter((id) => id !== undefined);
  }

  async move(kind: 'confirm' | 'cancel', reservationIds: readonly string[]): Promise<void> {
    const { client, random } = this.#scene;
    for (const reservationId of reservationIds)
      await client.sendUntilDecided({ kind, reservationId }, random);
  }

  async untilDrained(): Promise<void> {
    const { inspector, terms } = this.#scene;
    await eventually(
      async () => {
        if (!(await inspector.isDrained(terms.saleId))) throw new Error('not drained');
      },
      { timeoutMs: DRAINED_MS_MAX },
    );
  }

  /** Nothing is held, and the sale is open on the server that there is: so also recovered. */
  async untilAtRest(): Promise<void> {
    const { inspector, terms } = this.#scene;
    await eventually(
      async () => {
        const restless = await inspector.pendingWork(terms.saleId);
        if (restless !== undefined) throw new Error(restless);
      },
      { timeoutMs: AT_REST_MS_MAX },
    );
  }

  /** Redis forgets. */
  async lose(kind: MemoryFaultKind): Promise<void> {
    this.losses.push(await loseMemory(kind, this.stack, 0));
  }

  /** Presses once, but the reply to the front end is lost, and after it the front end can not reach Redis for so long. */
  async loseReplyTo(buyerId: string, awayMs: number): Promise<void> {
    const links = FRONT_END_LINKS.map((name) => this.stack.link(name));
    const traps = links.map((link) => link.loseReplyTo(reserve.sha1));
    const pressed = this.#scene.client.send(buyOf(buyerId, {}), this.#scene.random);
    // Sooner than the front end connects again.
    while (!traps.some(({ hasCaught }) => hasCaught)) await sleep(1);
    for (const link of links) link.refuse();
    await sleep(awayMs);
    for (const link of links) link.heal();
    await pressed;
  }
}

interface BuyChoices {
  key?: string;
  quantity?: number;
}

const PATIENCE_MS = 10_000;
/** Well over what a persister waits before it takes over what another has read. */
const DRAINED_MS_MAX = 20_000;
const AT_REST_MS_MAX = 20_000;
const PERSISTERS = ['persister-1', 'persister-2'] as const;
const FRONT_END_LINKS = ['hot-path-1>redis', 'hot-path-2>redis'] as const;
/** Longer than holds of a second need to end, with their sweep. */
const HOLD_OVER_MS = 1_600;
/** For processes to notice what was done to others: a poll of a stream comes every 250 ms. */
const NOTICE_MS = 700;

function buyOf(buyerId: string, { key, quantity = 1 }: BuyChoices) {
  return { kind: 'buy', buyerId, key, items: [{ sku: 'unit', quantity }] } as const;
}

export const VARIANTS: readonly Variant[] = [
  {
    name: 'scripts do not look at the fence',
    mistake: {
      file: 'lua/parts/sale.lua',
      original: "elseif fields[1] ~= arg_fence then\n  refused = 'recovering'",
      broken: "elseif false then\n  refused = 'recovering'",
    },
    expected: 'position-reused',
    stock: 1_000,
    // Long enough that the newest part of the file, which gets lost, holds purchases and no ends of holds.
    holdSeconds: 12,
    durability: 'fast',
    act: async (stage) => {
      await stage.buyMany(40, 'before');
      for (let i = 0; i < 40; i++) await stage.buy(`one-by-one-${i}`);
      await stage.untilDrained();
      // Sold on before a recovery can look at it.
      for (const name of PERSISTERS) stage.stack.pause(name);
      await stage.lose('lose-tail');
      const sold = stage.buyMany(10, 'after');
      await sleep(2 * NOTICE_MS);
      for (const name of PERSISTERS) stage.stack.resume(name);
      await sold;
    },
  },
  {
    name: 'a rebuilt sale leaves out no positions',
    mistake: {
      file: 'persister/recover/compare.ts',
      original: 'const skipped = wasLost ? rules.positionsSkipped : 0;',
      broken: 'const skipped = 0;',
    },
    expected: 'position-reused',
    stock: 100,
    holdSeconds: 2,
    act: async (stage) => {
      await stage.buyMany(5, 'kept');
      await stage.untilDrained();
      for (const name of PERSISTERS) stage.stack.pause(name);
      await stage.buyMany(5, 'forgotten');
      await stage.lose('flush');
      for (const name of PERSISTERS) stage.stack.resume(name);
      await stage.buyMany(10, 'after');
    },
  },
  {
    name: 'a frozen persister writes what was forgotten',
    mistake: {
      file: 'persister/write/write-batch.ts',
      original: 'progress?.timeline !== guard.timeline ||',
      broken: 'progress === undefined ||',
    },
    expected: 'never-decided',
    stock: 100,
    holdSeconds: 2,
    act: async (stage) => {
      // So that the one that will be frozen has the sale open. Paid, for the end of a hold would be an event.
      stage.stack.pause('persister-2');
      await stage.move('confirm', await stage.buyMany(1, 'kept'));
      await stage.untilDrained();
      stage.stack.link('persister-1>postgres').stall();
      await stage.buyMany(5, 'forgotten');
      await sleep(NOTICE_MS);
      await stage.lose('flush');
      stage.stack.resume('persister-2');
      await stage.untilAtRest();
      // Nothing has happened since, so the numbers of what was forgotten belong to nobody: PostgreSQL refuses none.
      stage.stack.link('persister-1>postgres').heal();
      await sleep(NOTICE_MS);
    },
  },
  {
    name: 'rows take whatever version comes',
    mistake: {
      file: 'persister/write/write-batch.ts',
      original: 'WHERE stored.version < excluded.version`;',
      broken: '`;',
    },
    expected: 'stale-row',
    stock: 100,
    holdSeconds: 60,
    act: async (stage) => {
      const ids = await stage.buyMany(10, 'buyer');
      await stage.untilDrained();
      // One persister reads the confirmations and can not write them until the other has written the refunds.
      stage.stack.link('persister-1>postgres').stall();
      stage.stack.pause('persister-2');
      await stage.move('confirm', ids);
      await sleep(NOTICE_MS);
      stage.stack.resume('persister-2');
      await stage.move('cancel', ids);
      // Also the confirmations, when the other persister has taken them over.
      await stage.untilDrained();
      stage.stack.link('persister-1>postgres').heal();
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
    act: async (stage) => {
      stage.stack.pause('postgres');
      const ids = await stage.buyMany(10, 'buyer');
      await sleep(NOTICE_MS);
      await stage.stack.kill('persister-1');
      await stage.stack.kill('persister-2');
      stage.stack.resume('postgres');
      await stage.move('confirm', ids);
      await stage.untilDrained();
    },
  },
  {
    name: 'trims what is still pending',
    mistake: {
      file: 'lua/stream/trim-events.lua',
      original: "local oldest = redis.call('XPENDING', key_events, arg_group)[2]",
      broken: 'local oldest = nil',
    },
    expected: 'history-gap',
    stock: 100,
    holdSeconds: 60,
    act: async (stage) => {
      stage.stack.link('persister-1>postgres').stall();
      stage.stack.pause('persister-2');
      const ids = await stage.buyMany(10, 'first');
      await sleep(NOTICE_MS);
      stage.stack.resume('persister-2');
      ids.push(...(await stage.buyMany(10, 'second')));
      await sleep(NOTICE_MS);
      await stage.stack.kill('persister-1');
      stage.stack.link('persister-1>postgres').heal();
      await stage.move('confirm', ids);
      await stage.untilDrained();
    },
  },
  {
    name: 'the client library sends again by itself',
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
    act: async (stage) => {
      // So that both front ends have a connection, and Redis has the script.
      await stage.buyMany(20, 'early');
      // Long enough for the hold to end: without a key, the buyer may then buy again.
      await stage.loseReplyTo('buyer', HOLD_OVER_MS);
      await sleep(NOTICE_MS);
    },
  },
  {
    name: 'idempotency keys are not recorded',
    mistake: {
      file: 'lua/parts/record.lua',
      original: "return '1\\tR\\t' .. position .. terms .. key",
      broken: "return '1\\tR\\t' .. position .. terms",
    },
    expected: 'responses-differ',
    stock: 100,
    holdSeconds: 1,
    act: async (stage) => {
      await stage.buy('buyer', { key: 'cart' });
      await stage.buy('buyer', { key: 'cart' });
    },
  },
  {
    name: 'what expires returns twice',
    mistake: {
      file: 'lua/buy/sweep.lua',
      original: 'baskets_ended[record.items] = (baskets_ended[record.items] or 0) + 1',
      broken: 'baskets_ended[record.items] = (baskets_ended[record.items] or 0) + 2',
    },
    expected: 'oversold',
    stock: 4,
    holdSeconds: 1,
    act: async (stage) => {
      await stage.buyMany(4, 'forgetful');
      await sleep(HOLD_OVER_MS);
      await stage.move('confirm', await stage.buyMany(8, 'late'));
    },
  },
  {
    name: 'a payment revives what has expired',
    mistake: {
      file: 'domain/reservation.ts',
      original: "confirm: { from: 'RP', to: 'C' }",
      broken: "confirm: { from: 'RPE', to: 'C' }",
    },
    expected: 'illegal-transition',
    stock: 4,
    holdSeconds: 1,
    act: async (stage) => {
      const ids = await stage.buyMany(2, 'slow');
      await sleep(HOLD_OVER_MS);
      await stage.move('confirm', ids);
    },
  },
  {
    name: 'a batch uses up one position only',
    mistake: {
      file: 'lua/parts/changes.lua',
      original: "'position', number(sale.position), 'events'",
      broken: "'position', number(math.min(sale.position, first_position)), 'events'",
    },
    expected: 'position-reused',
    stock: 200,
    holdSeconds: 1,
    act: async (stage) => {
      await stage.buyMany(60, 'first');
      await stage.buyMany(60, 'second');
    },
  },
  {
    name: 'an unknown outcome is told as sold out',
    mistake: {
      file: 'hot-path/sales/with-sale.ts',
      original: 'PROBLEM_RESPONSES[problemOf(fault)];',
      broken: "PROBLEM_RESPONSES[problemOf(fault) === 'overloaded' ? 'overloaded' : 'sold_out'];",
    },
    expected: 'refused-but-decided',
    stock: 100,
    holdSeconds: 1,
    act: async (stage) => {
      await stage.buyMany(20, 'early');
      await stage.loseReplyTo('buyer', 0);
    },
  },
  {
    name: 'a winner who asks again is told sold out',
    mistake: {
      file: 'hot-path/sales/sold-out.ts',
      original: 'holders.count >= placeOf(state.position, state.gaps)',
      broken: 'holders.count >= 0',
    },
    expected: 'false-refusal',
    stock: 4,
    holdSeconds: 60,
    act: async (stage) => {
      await stage.move('confirm', await stage.buyMany(4, 'winner'));
      // Enough for both front ends to hear it, and to begin to refuse by themselves.
      await stage.buyMany(40, 'late');
      await sleep(STALE_MS_MAX + NOTICE_MS);
      for (let i = 0; i < 5; i++) await stage.buyMany(4, 'winner');
    },
  },
  {
    name: 'the limit is off by one',
    mistake: {
      file: 'lua/buy/reserve.lua',
      original: '+ basket.units > sale.limit then',
      broken: '+ basket.units > sale.limit + 1 then',
    },
    expected: 'over-limit',
    stock: 100,
    holdSeconds: 1,
    act: async (stage) => {
      await stage.buy('buyer', { key: 'cart-1', quantity: 3 });
      await stage.buy('buyer', { key: 'cart-2' });
    },
  },
];
