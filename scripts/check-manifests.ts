/**
 * Are docker-compose.yml, the Dockerfile and k8s/ well-formed, and do they agree with each other and the code?
 *
 *   node scripts/check-manifests.ts              what the tools at hand can tell
 *   node scripts/check-manifests.ts --strict     a tool that is missing counts as a failure
 *   node scripts/check-manifests.ts --root DIR   the files of another directory
 *
 * Exits 1 when something is wrong.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { command } from '../harness/command/command-line.ts';
import { VARIABLES } from '../src/config.ts';
import { composeComplaints } from './manifests/compose-references.ts';
import { kubernetesComplaints } from './manifests/kubernetes-references.ts';

/** The oldest Kubernetes that knows everything k8s/ uses (`preStop.sleep`); its schemas are built into the tool. */
const KUBERNETES_VERSION = '1.30';

type Finding =
  | { kind: 'ok'; what: string }
  | { kind: 'wrong'; what: string; words: string }
  | { kind: 'no tool'; what: string; words: string };

const { strict, root } = command(
  'check:manifests',
  'Whether docker-compose.yml, the Dockerfile and k8s/ agree with each other and the code.',
)
  .option('--strict', 'a tool that is missing counts as a failure')
  .option('--root <directory>', 'the files of another one', join(import.meta.dirname, '..'))
  .parse()
  .opts<{ strict?: boolean; root: string }>();
const findings = [
  composeParses(),
  manifestsHaveTheirSchema(),
  kustomizationBuilds(),
  agreement('docker-compose.yml agrees with the code', () =>
    composeComplaints(read('docker-compose.yml'), {
      variables: VARIABLES,
      listed: listedVariables(),
    }),
  ),
  agreement('k8s/ agrees with itself and the code', () =>
    kubernetesComplaints(manifests(), { variables: VARIABLES, imageUser: imageUser() }),
  ),
];
for (const finding of findings) {
  console.log(`${finding.kind.padEnd(9)}${finding.what}`);
  if (finding.kind !== 'ok') console.log(finding.words.replaceAll(/^/gm, '           '));
}
const fatal = strict ? ['wrong', 'no tool'] : ['wrong'];
if (findings.some(({ kind }) => fatal.includes(kind))) process.exitCode = 1;

function composeParses(): Finding {
  const what = 'docker-compose.yml is what compose takes';
  const tool = [['docker', 'compose'], ['docker-compose']].find((words) =>
    runs([...words, 'version']),
  );
  if (!tool) {
    return {
      kind: 'no tool',
      what,
      words:
        'Install the compose plugin: apt-get install docker-compose-plugin, or Docker Desktop.',
    };
  }
  // Compose demands the secrets even to parse; these stay in this process' children.
  const secrets = { JWT_SECRET: 'x', ADMIN_TOKENS: 'x', POSTGRES_PASSWORD: 'x' };
  const withThem = run([...tool, '--profile', 'k6', 'config', '--quiet'], secrets);
  if (!withThem.ok) return { kind: 'wrong', what, words: withThem.words };
  const none = { JWT_SECRET: '', ADMIN_TOKENS: '', POSTGRES_PASSWORD: '' };
  const withoutThem = run([...tool, 'config', '--quiet'], none);
  if (!withoutThem.ok) return { kind: 'ok', what };
  return { kind: 'wrong', what, words: 'It starts without its secrets.' };
}

function manifestsHaveTheirSchema(): Finding {
  const what = `k8s/ has the schema of Kubernetes ${KUBERNETES_VERSION}`;
  if (!runs(['kubectl-validate', '--help'])) {
    return {
      kind: 'no tool',
      what,
      words: 'Install kubectl-validate: go install sigs.k8s.io/kubectl-validate@latest',
    };
  }
  // A kustomization is no object of a cluster, and no cluster has a schema of it.
  const files = manifestFiles().filter((file) => file !== 'kustomization.yaml');
  const paths = files.map((file) => join('k8s', file));
  const { ok, words } = run(['kubectl-validate', '--version', KUBERNETES_VERSION, ...paths]);
  if (ok) return { kind: 'ok', what };
  const telling = stripVTControlCharacters(words)
    .split('\n')
    .filter((line) => line !== '' && !line.endsWith('...OK'));
  return { kind: 'wrong', what, words: telling.join('\n') };
}

function kustomizationBuilds(): Finding {
  const what = 'k8s/kustomization.yaml builds';
  const tool = [
    ['kubectl', 'kustomize'],
    ['kustomize', 'build'],
  ].find((words) => runs([...words, '--help']));
  if (!tool) {
    return { kind: 'no tool', what, words: 'Install kubectl; it has kustomize built in.' };
  }
  const { ok, words } = run([...tool, 'k8s']);
  return ok ? { kind: 'ok', what } : { kind: 'wrong', what, words };
}

function agreement(what: string, complaintsOf: () => string[]): Finding {
  let complaints: string[];
  try {
    complaints = complaintsOf();
  } catch (error) {
    complaints = [String(error)];
  }
  return complaints.length === 0
    ? { kind: 'ok', what }
    : { kind: 'wrong', what, words: complaints.join('\n') };
}

function manifests(): Map<string, unknown[]> {
  return new Map(
    manifestFiles().map((file) => {
      const documents = parseAllDocuments(read(join('k8s', file)));
      for (const { errors } of documents) {
        if (errors[0]) throw new Error(`k8s/${file}: ${errors[0].message}`);
      }
      return [file, documents.map((document): unknown => document.toJS())];
    }),
  );
}

function manifestFiles(): string[] {
  return readdirSync(join(root, 'k8s')).filter((file) => file.endsWith('.yaml'));
}

function listedVariables(): Set<string> {
  return new Set([...read('.env.example').matchAll(/^([A-Z0-9_]+)=/gm)].map((match) => match[1]!));
}

function imageUser(): number {
  const users = [...read('Dockerfile').matchAll(/^USER (\d+):\d+$/gm)].map((match) => match[1]);
  const last = Number(users.at(-1) ?? 0);
  if (last === 0) throw new Error('the Dockerfile names no USER by number, or names root');
  return last;
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

function runs(words: string[]): boolean {
  return run(words).ok;
}

function run(
  words: string[],
  environment: Record<string, string> = {},
): { ok: boolean; words: string } {
  const [tool, ...args] = words;
  const done = spawnSync(tool!, args, {
    cwd: root,
    encoding: 'utf8',
    // Where `go install` puts tools, which is on few people's PATH.
    env: {
      ...process.env,
      PATH: [process.env.PATH, join(homedir(), 'go/bin')].join(delimiter),
      ...environment,
    },
  });
  return { ok: done.status === 0, words: `${done.stdout ?? ''}${done.stderr ?? ''}`.trim() };
}
