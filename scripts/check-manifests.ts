/**
 * Validates docker-compose.yml, k8s/ and the CI workflow against their official schemas:
 *
 *   npm run check:manifests
 *
 * check-jsonschema and kubernetes-validate bring the schemas with them. That the manifests agree with each other and
 * with the code is tested in test/unit/deployment-manifests-are-consistent.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../harness/command/command-line.ts';
import { installPythonTools } from '../harness/command/python-tool.ts';

/** The oldest Kubernetes that supports every field in k8s/; `preStop.sleep` is the newest of them. */
const KUBERNETES_VERSION = '1.30';

command(
  'check:manifests',
  'Validate docker-compose.yml, k8s/ and the CI workflow against their schemas; needs Python.',
).parse();

const root = join(import.meta.dirname, '..');
const tools = installPythonTools('manifests', [
  'check-jsonschema==0.39.0',
  'kubernetes-validate==1.37.0',
]);
const objects = readdirSync(join(root, 'k8s'))
  // A kustomization is read by kubectl only; no cluster has a schema for it.
  .filter((file) => file.endsWith('.yaml') && file !== 'kustomization.yaml')
  .map((file) => join('k8s', file));

validate('check-jsonschema', '--builtin-schema', 'vendor.compose-spec', 'docker-compose.yml');
validate(
  'check-jsonschema',
  '--builtin-schema',
  'vendor.github-workflows',
  '.github/workflows/ci.yml',
);
validate('kubernetes-validate', '--strict', '-k', KUBERNETES_VERSION, ...objects);

function validate(tool: string, ...args: string[]): void {
  const { status } = spawnSync(join(tools, tool), args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}
