/** Builds kustomizations with the real program: kubectl's, or kustomize itself. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { stringify } from 'yaml';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';
import { findGo } from './build.ts';
import { REPOSITORY } from './kustomizations.ts';

/** For machines that have neither program, but Go. */
const KUSTOMIZE = 'sigs.k8s.io/kustomize/kustomize/v5@v5.7.1';
const TOOLS = join(REPOSITORY, '.flash-sale/tools/kustomize');
const WRAPPERS = join(REPOSITORY, '.flash-sale/manifests');

/** A command and its first arguments; the directory follows. */
type Builder = readonly [command: string, ...args: string[]];

/**
 * Ends the process with code 2 if there is no program that builds kustomizations.
 *
 * @param kubectl the path of a kubectl to use
 */
export function findBuilder(kubectl: string | undefined): Builder {
  if (kubectl !== undefined) return [kubectl, 'kustomize'];
  const installed = join(TOOLS, 'kustomize');
  const kustomize = existsSync(installed) ? installed : findProgram('kustomize');
  if (kustomize) return [kustomize, 'build'];
  const found = findProgram('kubectl');
  if (found) return [found, 'kustomize'];
  console.error(`installing ${KUSTOMIZE} into ${TOOLS}`);
  const { status } = spawnSync(findGo(), ['install', KUSTOMIZE], {
    env: { ...process.env, GOBIN: TOOLS },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status === 0) return [installed, 'build'];
  console.error('Install kubectl or kustomize: kustomize could not be built.');
  return process.exit(2);
}

/** The objects of a kustomization as YAML. Throws with the program's own words. */
export function build([command, ...args]: Builder, directory: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, [...args, directory], {
    cwd: REPOSITORY,
    encoding: 'utf8',
  });
  if (status !== 0 || stderr !== '') throw new Error(`${directory}: ${error?.message ?? stderr}`);
  return stdout;
}

/** Writes a kustomization that adds to others, as people do in a directory of their own. Returns its directory. */
export function wrap(
  name: string,
  parts: {
    resources: string[];
    components?: string[];
    namespace?: string;
    patches?: { target: { kind: string; name: string }; patch: string }[];
  },
): string {
  const directory = join(WRAPPERS, name);
  const fromThere = (path: string) => relative(directory, join(REPOSITORY, path));
  mkdirSync(directory, { recursive: true });
  const kustomization = {
    ...parts,
    resources: parts.resources.map(fromThere),
    ...(parts.components && { components: parts.components.map(fromThere) }),
  };
  writeFileSync(join(directory, 'kustomization.yaml'), stringify(kustomization));
  return relative(REPOSITORY, directory);
}
