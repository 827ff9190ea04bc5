/** Paths and links in the documents lead to files and headings that exist. */
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
const ANCHOR = /\]\((?!https?:)([^)#]*)#([^)]+)\)/g;
const LINK = /\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g;

test('every path and link in the documents leads to a file', () => {
  const missing = DOCUMENTS.filter((document) => document !== 'CHANGELOG.md').flatMap(missingIn);
  assert.deepEqual(missing, []);
});

test('every link to a heading leads to one', () => {
  const missing = DOCUMENTS.flatMap((document) => {
    const text = readFileSync(join(REPOSITORY, document), 'utf8');
    return [...text.matchAll(ANCHOR)]
      .map(([, path, anchor]) => ({
        target: path === '' ? document : join(dirname(document), path!),
        anchor: anchor!,
      }))
      .filter(({ target }) => target.endsWith('.md'))
      .filter(({ target, anchor }) => !anchorsOf(target).has(anchor))
      .map(({ target, anchor }) => `${document}: ${target}#${anchor}`);
  });
  assert.deepEqual(missing, []);
});

/** As GitHub names the headings of a document. */
function anchorsOf(document: string): Set<string> {
  const text = readFileSync(join(REPOSITORY, document), 'utf8').replaceAll(/^```.*?^```/gms, '');
  const anchors = new Set<string>();
  for (const [, heading] of text.matchAll(/^#+ (.+)$/gm)) {
    const name = heading!
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-');
    let anchor = name;
    for (let again = 1; anchors.has(anchor); again++) anchor = `${name}-${again}`;
    anchors.add(anchor);
  }
  return anchors;
}

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
