/**
 * Versions that only a record and its note tell of are restored as a history that can have happened. All histories of up
 * to five versions lose every choice of their versions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noteOf, paymentIn } from '../../src/domain/merchant-note.ts';
import {
  RESERVATION_TRANSITIONS,
  type Reservation,
  type ReservationTransition,
  STATUS_OF_LETTER,
} from '../../src/domain/reservation.ts';
import { isPart, writeDetail } from '../../src/domain/transition-detail.ts';
import type { KnownVersion } from '../../src/persister/recover/restore/likeliest-steps.ts';
import { restoredChanges } from '../../src/persister/recover/restore/restored-events.ts';

const VERSIONS_MAX = 5;
const UNITS = 9;

interface Version extends KnownVersion {
  letter: string;
}

const transitions = Object.entries(RESERVATION_TRANSITIONS) as [
  ReservationTransition,
  { from: string; to: string },
][];

test('whatever is lost, the restored history is possible and keeps what the note says', () => {
  let restored = 0;
  for (const history of histories([version(1, 'R', 'reserved')])) {
    for (let choice = 1; choice < 2 ** history.length; choice += 1) {
      for (const isExtended of [true, false]) {
        assertPossible(history, (index) => (choice >> index) % 2 === 1, isExtended);
        restored += 1;
      }
    }
  }
  assert.ok(restored > 1_000, `${restored} histories`);
});

function* histories(history: Version[]): Generator<Version[]> {
  yield history;
  if (history.length === VERSIONS_MAX) return;
  const { letter } = history.at(-1)!;
  const next = history.length + 1;
  for (const [transition, { from, to }] of transitions) {
    if (!from.includes(letter)) continue;
    for (const paymentRef of to === 'C' ? ['', 'pay'] : ['']) {
      const isEarlier = paymentIn(history) !== '';
      if (transition === 'attach' && (isEarlier || paymentRef === '')) continue;
      const detail =
        transition === 'expire' || transition === 'give-back'
          ? ''
          : detailOf(transition, paymentRef);
      yield* histories([...history, version(next, to, detail)]);
    }
  }
  if ('RPC'.includes(letter)) {
    const items = [{ sku: 'unit', quantity: next }];
    const detail = writeDetail({ actor: 'x', transition: 'cancel', restock: true, items });
    yield* histories([...history, version(next, letter, detail)]);
  }
}

function assertPossible(
  history: Version[],
  isLost: (index: number) => boolean,
  isExtended: boolean,
): void {
  const { letter, version: newest } = history.at(-1)!;
  const cancelled = history.filter(isPart).reduce((sum, each) => sum + each.version, 0);
  const reservation = {
    version: newest,
    status: STATUS_OF_LETTER[letter],
    items: [{ sku: 'unit', quantity: UNITS, unitPrice: 1, cancelled }],
  } as unknown as Reservation;
  const note = noteOf(history) ?? '';
  const known = history.filter((_, index) => !isLost(index));
  const lost = history.filter((_, index) => isLost(index)).map((each) => each.version);
  const changes = restoredChanges(reservation, lost, note, known, isExtended);
  const restored = history.map((each) => {
    const change = changes[lost.indexOf(each.version)];
    return change ? { ...change, version: each.version } : each;
  });
  const told = JSON.stringify({ history, lost, isExtended, restored }, null, 1);

  let before = '';
  for (const each of restored) {
    const statusBefore = STATUS_OF_LETTER[before];
    if (isPart(each)) {
      assert.equal(each.status, statusBefore, told);
      continue;
    }
    const to = each.status === 'reserved' && each.version > 1 ? 'P' : letterOf(each.status);
    const isAllowed = transitions.some(([, rule]) => rule.from.includes(before) && rule.to === to);
    assert.ok(before === '' ? to === 'R' : isAllowed, `${before} to ${to}: ${told}`);
    before = to;
  }
  assert.equal(STATUS_OF_LETTER[before], reservation.status, told);
  assert.deepEqual(contentOf(noteOf(restored)), contentOf(note), told);
}

/** What a note says, without the order of its parts: no record tells it. */
function contentOf(note = ''): string[] {
  return note.split('\t').toSorted();
}

function version(number: number, letter: string, detail: string): Version {
  const status = STATUS_OF_LETTER[letter]!;
  return { reservationId: 'sale_1_tag', version: number, status, detail, letter };
}

function detailOf(transition: ReservationTransition, paymentRef: string): string {
  return writeDetail({ actor: 'x', transition, paymentRef });
}

function letterOf(status: string): string {
  return { reserved: 'R', confirmed: 'C', cancelled: 'X', expired: 'E' }[status]!;
}
