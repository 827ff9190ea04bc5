/** The table of moves in docs/ARCHITECTURE.md is the one that the code decides by. */
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

test('docs/ARCHITECTURE.md has every move and no other', () => {
  const text = readFileSync(new URL('../../docs/ARCHITECTURE.md', import.meta.url), 'utf8');
  const table = /\| move \| from \| to \| units \|\n\|[-|]+\|\n((?:\|.*\|\n)+)/.exec(text)?.[1];
  assert.ok(table, 'there is no table of moves');
  const documented = table
    .trim()
    .split('\n')
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const decided = Object.entries(RESERVATION_TRANSITIONS).map(([move, { from, to }]) => [
    `\`${move}\``,
    from
      .split('')
      .map((letter) => STATES[letter])
      .join(', '),
    STATES[to],
    unitsOf(from, to),
  ]);
  assert.deepEqual(documented, decided);
});

function unitsOf(from: string, to: string): string {
  const left = [...new Set(from.split('').map((letter) => COUNTS[letter]))].join(' or ');
  const reached = COUNTS[to]!;
  return left === reached ? left : `${left} → ${reached}`;
}
