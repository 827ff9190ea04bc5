/** The places that name the version of a release, and whether they agree with its tag. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Fastify from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { parse } from 'yaml';
import { buildDocument, describeRoutes } from '../../src/admin/docs/openapi.ts';

/** The name of the image in k8s/. */
const IMAGE = 'flash-sale';
const TAG = /^v((\d+)\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)$/;

export interface ReleaseFacts {
  /** By the place that names it, for messages. All must be the version of the tag. */
  versions: Record<string, string>;
  /** `info.version` of the OpenAPI document: the major version of the API. */
  openApiVersion: string;
  changelog: string;
}

export async function readReleaseFacts(root: string): Promise<ReleaseFacts> {
  const text = (path: string) => readFileSync(join(root, path), 'utf8');
  const versionIn = (path: string) => (JSON.parse(text(path)) as { version: string }).version;
  return {
    versions: {
      'package.json': versionIn('package.json'),
      'package-lock.json': versionIn('package-lock.json'),
      'clients/typescript/package.json': versionIn('clients/typescript/package.json'),
      ...imageTags(root),
    },
    openApiVersion: await openApiVersion(),
    changelog: text('CHANGELOG.md'),
  };
}

/** What must change before this tag can be released; empty: nothing. */
export function releaseMistakes(tag: string, facts: ReleaseFacts): string[] {
  const [, version, major] = TAG.exec(tag) ?? [];
  if (version === undefined) return [`the tag ${tag} is not v and a version, such as v1.0.0`];
  const mistakes = Object.entries(facts.versions)
    .filter(([, found]) => found !== version)
    .map(([place, found]) => `${place} has ${found}, not ${version}`);
  // The paths of the API begin with /v1 from the first release on.
  const apiVersion = String(Math.max(1, Number(major)));
  if (facts.openApiVersion !== apiVersion) {
    mistakes.push(`the OpenAPI document has ${facts.openApiVersion}, not ${apiVersion}`);
  }
  if (releaseNotes(facts.changelog, version) === undefined) {
    mistakes.push(
      `CHANGELOG.md has no part "## [${version}] - <year>-<month>-<day>" with text below it`,
    );
  }
  return mistakes;
}

/** The part of the changelog about one version, without its heading; undefined: there is none, or it is empty. */
export function releaseNotes(changelog: string, version: string): string | undefined {
  const parts = changelog.split(/^## /m).slice(1);
  const part = parts.find((each) => each.startsWith(`[${version}] - `));
  const [, notes] = /^.*?\] - \d{4}-\d{2}-\d{2}\n([\s\S]*)$/.exec(part ?? '') ?? [];
  return notes?.trim() || undefined;
}

/** The tags of the image in kustomizations, and those that the texts of k8s/ name. */
function imageTags(root: string): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const path of globSync('k8s/**/*.{yaml,md}', { cwd: root })) {
    const text = readFileSync(join(root, path), 'utf8');
    for (const [, tag] of text.matchAll(new RegExp(`\\b${IMAGE}:(\\d+\\.[\\w.-]*\\w)`, 'g'))) {
      tags[`${path} (${IMAGE}:${tag})`] = tag!;
    }
    if (!path.endsWith('kustomization.yaml')) continue;
    const { images = [] } = parse(text) as { images?: { name: string; newTag?: string }[] };
    for (const { name, newTag } of images) {
      if (name === IMAGE && newTag !== undefined) tags[`${path} (newTag)`] = newTag;
    }
  }
  return tags;
}

async function openApiVersion(): Promise<string> {
  const app = Fastify();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  await describeRoutes(app);
  await app.ready();
  const { info } = await buildDocument(app, []);
  await app.close();
  return info.version;
}
