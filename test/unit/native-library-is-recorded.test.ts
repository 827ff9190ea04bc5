/** The native library of uWebSockets.js is a recorded one (docs/NODE.md). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  gitBlobId,
  libraryName,
  mistakeOf,
  parseLibraries,
} from '../../scripts/release/native-libraries.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const recorded = parseLibraries(
  readFileSync(join(REPOSITORY, 'scripts/native-libraries.sha256'), 'utf8'),
);
const abi = process.versions.modules;

test('the list has the libraries of the platforms of production and of developers', () => {
  const platforms = [
    ['linux', 'x64'],
    ['linux', 'arm64'],
    ['darwin', 'x64'],
    ['darwin', 'arm64'],
  ] as const;
  const names = platforms.map(([platform, arch]) => libraryName({ platform, arch, abi }));
  assert.deepEqual([...recorded.keys()].toSorted(), names.toSorted());
});

test('a changed library and an unknown one are refused', () => {
  const [name] = recorded.keys();
  const content = readFileSync(join(REPOSITORY, 'node_modules/uWebSockets.js/dist/bin', name!));
  assert.equal(mistakeOf(name!, content, recorded), undefined);
  assert.match(mistakeOf(name!, content.subarray(1), recorded)!, /has the checksum/);
  assert.match(mistakeOf('other.node', content, recorded)!, /is not recorded/);
});

test('the id of a file is the one that Git gives it', () => {
  // `printf 'hello\n' | git hash-object --stdin`
  assert.equal(gitBlobId(Buffer.from('hello\n')), 'ce013625030ba8dba906f756967f9e9ca394464a');
});
