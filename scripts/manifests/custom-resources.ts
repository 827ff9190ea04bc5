/**
 * Validates objects of custom resources: KEDA, the Prometheus operator, the Gateway API, Envoy Gateway. The packages
 * @kubernetes-models have types and validators that were generated from the projects' own definitions. The compiler finds
 * fields that do not exist, the validators find values that are not allowed.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KubernetesObject, REPOSITORY } from '../../harness/kubernetes/kustomizations.ts';
import { installNodePackages } from '../node-tool.ts';

/** By API group. */
const MODELS: Record<string, string> = {
  'keda.sh': '@kubernetes-models/keda@2.0.0',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator@6.0.0',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api@2.0.0',
  'gateway.envoyproxy.io': '@kubernetes-models/envoy-gateway@2.0.0',
};
const OPTIONS = {
  compilerOptions: {
    module: 'nodenext',
    target: 'es2024',
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
  },
  files: ['objects.ts'],
};

/** Whether an object is not part of Kubernetes. */
export function isCustom({ apiVersion }: KubernetesObject): boolean {
  return groupOf(apiVersion) in MODELS;
}

/** Throws with every mistake. */
export function validateCustom(objects: readonly KubernetesObject[]): void {
  const directory = installNodePackages('custom-resources', Object.values(MODELS));
  writeFileSync(join(directory, 'objects.ts'), moduleOf(objects));
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(OPTIONS));
  run(join(REPOSITORY, 'node_modules/.bin/tsc'), ['-p', directory], directory);
  run(process.execPath, ['objects.ts'], directory);
}

/** A program that has each object as a literal, because the compiler finds unknown fields only in literals. */
function moduleOf(objects: readonly KubernetesObject[]): string {
  const lines = objects.map((object, index) => {
    const { apiVersion, kind, ...others } = object;
    const model = `${packageOf(apiVersion)}/${apiVersion}/${kind}`;
    const literal = JSON.stringify(others, undefined, 2);
    return `import { ${kind} as Model${index} } from ${JSON.stringify(model)};\nnew Model${index}(${literal}).validate();`;
  });
  return `${lines.join('\n')}\n`;
}

function packageOf(apiVersion: string): string {
  return MODELS[groupOf(apiVersion)]!.replace(/@[^@]*$/, '');
}

function groupOf(apiVersion: string): string {
  return apiVersion.split('/')[0]!;
}

function run(command: string, args: string[], cwd: string): void {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${stdout}${stderr}`);
}
