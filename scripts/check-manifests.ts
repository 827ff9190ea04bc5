/**
 * Validates docker-compose.yml, the CI workflow, and what k8s/ builds, against their official schemas:
 *
 *   npm run check:manifests
 *   npm run check:manifests -- --kubeconfig FILE [--kubectl PATH] [--crds DIRECTORY]    also on this API server
 *
 * Without --kubeconfig, it starts a control plane of its own, if bench:autoscale has built Kubernetes and etcd is installed.
 * check-jsonschema and kubernetes-validate bring the schemas with them. That the manifests agree with each other and
 * with the code is tested in test/unit/deployment-manifests-are-consistent.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { installPythonTools } from '../harness/command/python-tool.ts';
import { isKubernetesBuilt, pathOf } from '../harness/kubernetes/build.ts';
import { useControlPlane } from '../harness/kubernetes/control-plane.ts';
import {
  COMPONENTS,
  type KubernetesObject,
  kustomizationsOf,
  nameOf,
  OVERLAYS,
  REPOSITORY,
  toYaml,
} from '../harness/kubernetes/kustomizations.ts';
import { build, findBuilder, wrap } from '../harness/kubernetes/kustomize.ts';
import { findProgram } from '../src/dev/bootstrap/find-servers.mjs';
import { ApiServer } from './manifests/api-server.ts';
import { isCustom, validateCustom } from './manifests/custom-resources.ts';

/** The oldest Kubernetes that supports every field in k8s/; `preStop.sleep` is the newest of them. */
const KUBERNETES_VERSION = '1.30';
const FLOOR_COMPONENT = 'k8s/components/scheduled-floor';

interface Target {
  name: string;
  resources: string[];
  components?: string[];
}

interface Options {
  kubectl?: string;
  kubeconfig?: string;
  crds?: string;
}

const options = command(
  'check:manifests',
  'Validate docker-compose.yml, k8s/ and the CI workflow against their schemas; needs Python, and kubectl, kustomize or Go.',
)
  .option('--kubeconfig <file>', 'of a throw-away cluster, to apply everything to it as well')
  .option('--kubectl <path>', 'the kubectl to use')
  .option('--crds <directory>', 'definitions of custom resources, to install in that cluster first')
  .parse()
  .opts<Options>();

/** What is built: each overlay, and production with each component that it does not have yet. */
const optional = COMPONENTS.filter((component) => !kustomizationsOf('k8s').includes(component));
const targets: Target[] = [
  ...OVERLAYS.map((overlay) => ({ name: nameOf(overlay), resources: [overlay] })),
  ...optional.map((component) => ({
    name: `production-with-${nameOf(component)}`,
    resources: ['k8s'],
    components: [component],
  })),
];

const tools = installPythonTools('manifests', [
  'check-jsonschema==0.39.0',
  'kubernetes-validate==1.37.0',
]);
const ownKubectl = isKubernetesBuilt() ? pathOf('kubectl') : undefined;
const builder = findBuilder(options.kubectl ?? ownKubectl);
const session = openCommandSession();
const apiServer = await findApiServer();

await attempt('docker-compose.yml', () =>
  run('check-jsonschema', '--builtin-schema', 'vendor.compose-spec', 'docker-compose.yml'),
);
await attempt('.github/workflows/ci.yml', () =>
  run(
    'check-jsonschema',
    '--builtin-schema',
    'vendor.github-workflows',
    '.github/workflows/ci.yml',
  ),
);
await attempt('k8s/secret.example.yaml', () => validate('k8s/secret.example.yaml'));
for (const { name, ...parts } of targets) {
  await attempt(name, () => {
    const objects = parsed(build(builder, wrap(name, parts)));
    const file = `.flash-sale/manifests/${name}.yaml`;
    const own = objects.filter((object) => !isCustom(object));
    writeFileSync(join(REPOSITORY, file), toYaml(own));
    validate(file);
    const custom = objects.filter(isCustom);
    if (custom.length > 0) validateCustom(custom);
    return `${objects.length} objects, ${custom.length} of them custom resources`;
  });
}
if (apiServer) {
  const { crds } = options;
  if (crds) await attempt(crds, () => apiServer.define(crds));
  for (const { name, ...parts } of targets) {
    await attempt(`${name}, applied`, () => {
      const namespace = `check-${name}`;
      const directory = wrap(namespace, { ...parts, namespace });
      const objects = parsed(build(builder, directory));
      const hasFloor = parts.components?.includes(FLOOR_COMPONENT);
      const left = apiServer.apply(
        namespace,
        objects,
        hasFloor ? () => apiServer.setFloor(namespace) : undefined,
      );
      return left.length > 0 ? `except ${left.join(', ')}, unknown to the API server` : undefined;
    });
  }
}

await session.close();

async function findApiServer(): Promise<ApiServer | undefined> {
  const { kubeconfig, kubectl = 'kubectl' } = options;
  if (kubeconfig !== undefined) return new ApiServer(kubectl, kubeconfig);
  if (!isKubernetesBuilt() || !findProgram('etcd')) {
    console.log(
      'not applied: give --kubeconfig, or run npm run bench:autoscale once, which builds Kubernetes and installs etcd',
    );
    return undefined;
  }
  const controlPlane = await useControlPlane(session);
  return new ApiServer(pathOf('kubectl'), controlPlane.kubeconfig);
}

/** Reports what `check` returns or throws. A failure does not prevent the other checks. */
async function attempt(what: string, check: () => string | undefined): Promise<void> {
  // Takes what the servers have printed: with full pipes they would stand still.
  await setImmediate();
  try {
    const detail = check();
    console.log(`${what}: valid${detail ? `, ${detail}` : ''}`);
  } catch (error) {
    console.error(`${what}: INVALID\n${(error as Error).message}`);
    process.exitCode = 1;
  }
}

function validate(file: string): undefined {
  return run('kubernetes-validate', '--strict', '-k', KUBERNETES_VERSION, file);
}

function run(tool: string, ...args: string[]): undefined {
  const { status, stdout, stderr } = spawnSync(join(tools, tool), args, {
    cwd: REPOSITORY,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${stdout}${stderr}`.replaceAll(/^INFO .*\n/gm, ''));
}

function parsed(text: string): KubernetesObject[] {
  return parseAllDocuments(text).map((document) => document.toJS());
}
