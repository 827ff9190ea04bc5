/**
 * Every place that names a version of Node agrees, so that a move to another Node is a change of versions (docs/NODE.md);
 * and the image's build context is what the Dockerfile copies.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const REPOSITORY = join(import.meta.dirname, '../..');
const textOf = (path: string) => readFileSync(join(REPOSITORY, path), 'utf8');

const { engines, devDependencies } = JSON.parse(textOf('package.json')) as {
  engines: { node: string };
  devDependencies: Record<string, string>;
};
const dockerfile = textOf('Dockerfile');
const version = devDependencies.node!;
const [major, minor] = version.split('.').map(Number);

describe('Node', () => {
  it('of the scripts is in the range of package.json', () => {
    const [, oldest, oldestMinor, below] = /^>=(\d+)\.(\d+) <(\d+)$/.exec(engines.node)!;
    assert.ok(major! >= Number(oldest) && major! < Number(below), engines.node);
    assert.ok(major! > Number(oldest) || minor! >= Number(oldestMinor), engines.node);
    assert.equal(devDependencies['@types/node']!.split('.')[0], String(major));
  });

  it('of the image is that of the scripts', () => {
    const tags = [...dockerfile.matchAll(/\bnode:(\d[\w.-]*)/g)].map(([, tag]) => tag);
    assert.ok(tags.length > 0);
    for (const tag of tags) assert.match(tag!, new RegExp(`^${version}-[a-z]+-slim$`));
    assert.equal(new Set(tags).size, 1, tags.join());
  });

  it('of the workflows is the range of package.json', () => {
    for (const path of globSync('.github/workflows/*.yml', { cwd: REPOSITORY })) {
      assert.doesNotMatch(textOf(path), /node-version:/, path);
    }
  });
});

it('the build context is what the Dockerfile copies', () => {
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)]
    .flatMap(([, sources]) => sources!.split(' '))
    .toSorted();
  const [everything, ...exceptions] = textOf('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  assert.equal(everything, '*');
  assert.deepEqual(
    exceptions.toSorted(),
    [...new Set(copied)].map((path) => `!${path}`).toSorted(),
  );
});
