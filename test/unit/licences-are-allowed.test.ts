/** Production packages have permissive licences: the image contains them, so they bind its operator. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { refusedLicences } from '../../scripts/release/licences.ts';

const LOCK = join(import.meta.dirname, '../../package-lock.json');

test('every production package has a licence of the list', () => {
  const { packages } = JSON.parse(readFileSync(LOCK, 'utf8')) as {
    packages: Record<string, { license?: string; dev?: boolean }>;
  };
  const production = Object.entries(packages).filter(([path, { dev }]) => path !== '' && !dev);
  assert.ok(production.length > 100);
  const licensed = production.map(([name, { license }]) => ({ name, licence: license }));
  assert.deepEqual(refusedLicences(licensed), []);
});

test('other licences are refused, and expressions are understood', () => {
  const refused = (licence: string | undefined) =>
    refusedLicences([{ name: 'one', licence }]).length > 0;
  for (const licence of ['GPL-3.0-only', 'UNLICENSED', 'MIT AND GPL-3.0-only', undefined]) {
    assert.ok(refused(licence), licence);
  }
  for (const licence of ['MIT', '(MIT OR GPL-3.0-only)', 'GPL-3.0-only OR ISC', 'MIT AND ISC']) {
    assert.ok(!refused(licence), licence);
  }
});
