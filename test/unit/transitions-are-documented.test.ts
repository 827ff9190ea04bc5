/** The table of transitions in docs/ARCHITECTURE.md equals the one in the code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { RESERVATION_TRANSITIONS } from '../../src/domain/reservation.ts';

const STATES: Record<string, string> = {
  R: 'reserved',
  P: 'extended',
  C: 'confirmed',
  X: 'cancelled',
  E: 'expired',
};
const COUNTS: Record<string, string> = {
  R: 'held',
  P: 'held',
  C: 'confirmed',
  X: 'remaining',
  E: 'remaining',
};

test('docs/ARCHITECTURE.md lists exactly the transitions of the code', () => {
  const text = readFileSync(new URL('../../docs/ARCHITECTURE.md', import.meta.url), 'utf8');
  const table = /\| transition \| from \| to \| units \|\n\|[-|]+\|\n((?:\|.*\|\n)+)/.exec(
    text,
  )?.[1];
  assert.ok(table, 'there is no table of transitions');
  const documented = table
    .trim()
    .split('\n')
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const implemented = Object.entries(RESERVATION_TRANSITIONS).map(([name, { from, to }]) => [
    `\`${name}\``,
    from
      .split('')
      .map((letter) => STATES[letter])
      .join(', '),
    STATES[to],
    unitsOf(from, to),
  ]);
  assert.deepEqual(documented, implemented);
});

function unitsOf(from: string, to: string): string {
  const left = [...new Set(from.split('').map((letter) => COUNTS[letter]))].join(' or ');
  const reached = COUNTS[to]!;
  return left === reached ? left : `${left} → ${reached}`;
}
