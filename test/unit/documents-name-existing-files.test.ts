/** Paths and links in the documents lead to files that exist. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

const REPOSITORY = join(import.meta.dirname, '../..');
const DOCUMENTS = globSync('{*.md,{docs,k8s,clients,examples,bench,deploy}/**/*.md}', {
  cwd: REPOSITORY,
});
const PATH =
  /`((?:\.github|bench|chaos|clients|docs|examples|harness|k8s|migrations|patches|scripts|src|test)\/[^`\s…]*)`/g;
const LINK = /\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g;

test('every path and link in the documents leads to a file', () => {
  const missing = DOCUMENTS.filter((document) => document !== 'CHANGELOG.md').flatMap(missingIn);
  assert.deepEqual(missing, []);
});

function missingIn(document: string): string[] {
  const text = readFileSync(join(REPOSITORY, document), 'utf8');
  const paths = [...text.matchAll(PATH)]
    .map(([, path]) => path!)
    .filter((path) => globSync(path, { cwd: REPOSITORY }).length === 0);
  const links = [...text.matchAll(LINK)]
    .map(([, path]) => path!)
    .filter((path) => !existsSync(join(REPOSITORY, dirname(document), path)));
  return [...paths, ...links].map((path) => `${document}: ${path}`);
}
