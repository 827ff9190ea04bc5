/** A tag is released only if every place that names the version has that version. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  type ReleaseFacts,
  readReleaseFacts,
  releaseMistakes,
  releaseNotes,
} from '../../scripts/release/versions.ts';

const CHANGELOG = `# Changelog

## [Unreleased]

## [1.2.0] - 2027-01-31

### Added

- A thing.

## [1.1.0] - 2026-12-24

- Another thing.
`;
const SOUND: ReleaseFacts = {
  versions: { 'package.json': '1.2.0', 'k8s/kustomization.yaml (newTag)': '1.2.0' },
  openApiVersion: '1',
  changelog: CHANGELOG,
};

describe('a release', () => {
  it('is possible if all agree', () => {
    assert.deepEqual(releaseMistakes('v1.2.0', SOUND), []);
  });

  const FAULTS: [string, string, Partial<ReleaseFacts>, RegExp][] = [
    ['a tag without v', '1.2.0', {}, /the tag 1\.2\.0/],
    ['a tag that is no version', 'v1.2', {}, /the tag v1\.2/],
    ['one place behind', 'v1.2.0', { versions: { a: '1.2.0', b: '1.1.0' } }, /^b has 1\.1\.0/],
    ['the API of another major version', 'v1.2.0', { openApiVersion: '2' }, /OpenAPI/],
    ['no part in the changelog', 'v1.2.0', { changelog: '# Changelog\n' }, /CHANGELOG\.md/],
    ['a part without a date', 'v1.2.0', { changelog: '## [1.2.0]\n\n- A thing.\n' }, /CHANGELOG/],
    ['an empty part', 'v1.2.0', { changelog: '## [1.2.0] - 2027-01-31\n\n## [1]\n' }, /CHANGELOG/],
  ];
  for (const [name, tag, change, expected] of FAULTS) {
    it(`is refused with ${name}`, () => {
      const mistakes = releaseMistakes(tag, { ...SOUND, ...change });
      assert.equal(mistakes.length, 1, mistakes.join('\n'));
      assert.match(mistakes[0]!, expected);
    });
  }

  it("has the changelog's part as its notes", () => {
    assert.equal(releaseNotes(CHANGELOG, '1.2.0'), '### Added\n\n- A thing.');
    assert.equal(releaseNotes(CHANGELOG, '1.1.0'), '- Another thing.');
    assert.equal(releaseNotes(CHANGELOG, '1.0.0'), undefined);
  });
});

it('all places of this repository agree, but for the changelog of a version to come', async () => {
  const facts = await readReleaseFacts(join(import.meta.dirname, '../..'));
  assert.ok(Object.keys(facts.versions).length >= 5, Object.keys(facts.versions).join());
  const mistakes = releaseMistakes(`v${facts.versions['package.json']}`, facts);
  assert.deepEqual(
    mistakes.filter((mistake) => !mistake.startsWith('CHANGELOG.md')),
    [],
  );
});
