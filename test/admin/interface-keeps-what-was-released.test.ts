/** What the last release promised to keep still exists, and requests need nothing that they did not need. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { useAdmin } from '../../harness/engine/admin.ts';
import { FILE } from '../../harness/use.ts';
import { brokenLines, interfaceLines } from '../../scripts/interface/interface-lines.ts';

const admin = await useAdmin(FILE);

test('every line of docs/interface.txt is true', async () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/interface.txt'), 'utf8');
  const { body } = await admin.call('GET //openapi.json', { as: null });
  const now = await interfaceLines(body, admin.sql);
  assert.deepEqual(brokenLines(text.trimEnd().split('\n'), now), []);
});

const RECORDED = [
  'POST /buy 201 is Reservation',
  'POST /buy body.items array may',
  'POST /buy body.items[] object',
  'POST /buy body.items[].sku string must',
  'POST /buy body.note string may',
  'schema Reservation.total integer',
];

for (const [what, now, broken] of [
  ['a lost line', [], ['lost: POST /buy 201 is Reservation']],
  [
    'a new field that requests must have',
    ['POST /buy 201 is Reservation', 'POST /buy body.gift string must'],
    ['demanded: POST /buy body.gift string must'],
  ],
  [
    'such a field inside of one that they have',
    ['POST /buy 201 is Reservation', 'POST /buy body.items[].size string must'],
    ['demanded: POST /buy body.items[].size string must'],
  ],
] as const) {
  test(`${what} is a break`, () => {
    assert.deepEqual(brokenLines(RECORDED, [...RECORDED.slice(1), ...now]), broken);
  });
}

test('a field that becomes required is a break, in words of both', () => {
  const now = RECORDED.map((line) => line.replace(/note string may$/, 'note string must'));
  assert.deepEqual(brokenLines(RECORDED, now), [
    'lost: POST /buy body.note string may',
    'demanded: POST /buy body.note string must',
  ]);
});

test('additions are no break, nor is what requests need no more, or responses always have', () => {
  const now = RECORDED.map((line) =>
    line.replace(/must$/, 'may').replace(/integer$/, 'integer always'),
  );
  const added = [
    'POST /sell body.sku string must',
    'POST /buy body.gift object may',
    'POST /buy body.gift.wrapping string must',
    'schema Reservation.tax integer',
  ];
  assert.deepEqual(brokenLines(RECORDED, [...now, ...added]), []);
});
