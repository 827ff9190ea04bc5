/** Tables in the documents list what the code has: transitions of reservations, and checks of `verify`. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RESERVATION_TRANSITIONS } from '../../src/domain/reservation.ts';
import { CATALOGUE, printableCatalogue } from '../../src/verify/catalogue.ts';

const REPOSITORY = join(import.meta.dirname, '../..');

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
  const documented = tableIn('docs/ARCHITECTURE.md', '| transition | from | to | units |');
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

test('docs/VERIFY.md and verify --list have exactly the checks of the code', () => {
  const documented = tableIn('docs/VERIFY.md', '| check | says | promises | sales |');
  const scopes = { live: 'live', both: 'live, archived', archived: 'archived', command: 'command' };
  const implemented = Object.entries(CATALOGUE).map(([name, { says, promises, of }]) => [
    `\`${name}\``,
    says,
    promises.join(', '),
    scopes[of ?? 'live'],
  ]);
  assert.deepEqual(documented, implemented);
  const printed = printableCatalogue()
    .split('\n')
    .map((line) => line.split(' ')[0])
    .filter((word) => word?.includes('-'));
  assert.deepEqual(printed, Object.keys(CATALOGUE));
});

test('each check of the catalogue is made somewhere', () => {
  const sources = ['src/verify', 'src/cli'].flatMap((folder) =>
    readdirSync(join(REPOSITORY, folder))
      .filter((file) => file.endsWith('.ts') && file !== 'catalogue.ts')
      .map((file) => readFileSync(join(REPOSITORY, folder, file), 'utf8')),
  );
  const idle = Object.keys(CATALOGUE).filter(
    (name) => !sources.some((source) => source.includes(`'${name}'`)),
  );
  assert.deepEqual(idle, []);
});

/** The cells of the rows below this head. */
function tableIn(document: string, head: string): string[][] {
  const [, after] = readFileSync(join(REPOSITORY, document), 'utf8').split(`${head}\n`);
  assert.ok(after, `${document} has no table ${head}`);
  const rows = after.split('\n').slice(1);
  const end = rows.findIndex((row) => !row.startsWith('|'));
  return rows.slice(0, end).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}
