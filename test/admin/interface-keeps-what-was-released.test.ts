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

test('a lost line and a new demand are breaks; additions are none', () => {
  const recorded = [
    'POST /buy 201 is Reservation',
    'POST /buy body.sku string may',
    'schema Reservation.total integer',
  ];
  assert.deepEqual(
    brokenLines(recorded, [
      ...recorded,
      'POST /buy body.gift string may',
      'schema Reservation.tax integer',
    ]),
    [],
  );
  assert.deepEqual(brokenLines(recorded, [...recorded, 'POST /sell body.sku string must']), []);
  assert.deepEqual(brokenLines(recorded, recorded.slice(1)), [
    'lost: POST /buy 201 is Reservation',
  ]);
  assert.deepEqual(brokenLines(recorded, [...recorded, 'POST /buy body.gift string must']), [
    'demanded: POST /buy body.gift string must',
  ]);
  assert.deepEqual(
    brokenLines(
      recorded,
      recorded.map((line) => line.replace(/may$/, 'must')),
    ),
    ['lost: POST /buy body.sku string may', 'demanded: POST /buy body.sku string must'],
  );
});
