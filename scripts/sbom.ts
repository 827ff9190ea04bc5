/**
 * Writes the software bill of materials of the production packages, CycloneDX in JSON, to dist/sbom.json:
 *
 *   npm run sbom
 *
 * npm makes it from package-lock.json, and CycloneDX' own library validates it. That the licences are allowed is tested in
 * test/unit/licences-are-allowed.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../harness/command/command-line.ts';
import { installPythonTools } from '../harness/command/python-tool.ts';

command('sbom', 'Write and validate dist/sbom.json; needs npm and Python.').parse();

const ROOT = join(import.meta.dirname, '..');
const FILE = join(ROOT, 'dist/sbom.json');

/** Prints the first violation of the schema that the document names. */
const VALIDATE = `
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
version = SchemaVersion.from_version(sys.argv[2])
with open(sys.argv[1]) as file:
    sys.exit(JsonStrictValidator(version).validate_str(file.read()))
`;

const text = npmSbom();
mkdirSync(join(ROOT, 'dist'), { recursive: true });
writeFileSync(FILE, text);
const { specVersion, components } = JSON.parse(text) as {
  specVersion: string;
  components: object[];
};
const tools = installPythonTools('sbom', ['cyclonedx-python-lib[json-validation]==11.12.0']);
run(join(tools, 'python'), ['-c', VALIDATE, FILE, specVersion]);
console.log(`${FILE}: CycloneDX ${specVersion}, ${components.length} packages`);

/** Only production packages, as the lock file has them, whatever is installed here. */
function npmSbom(): string {
  return run('npm', [
    'sbom',
    '--sbom-format=cyclonedx',
    '--sbom-type=application',
    '--omit=dev',
    '--package-lock-only',
  ]);
}

function run(tool: string, args: string[]): string {
  const { status, stdout, error } = spawnSync(tool, args, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status === 0) return stdout;
  console.error(`${tool} failed: ${error?.message ?? `exit code ${status}`}`);
  return process.exit(1);
}
