/** Applies objects to a real API server, which knows more than any schema: defaults, admission, references, warnings. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type KubernetesObject,
  REPOSITORY,
  toYaml,
} from '../../harness/kubernetes/kustomizations.ts';

const SECRET = 'k8s/secret.example.yaml';
const SET_FLOOR = 'k8s/components/scheduled-floor/set-floor.mjs';
/** The folder in a pod with the token of its account. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const FLOOR = 12;

export class ApiServer {
  readonly #kubectl: string;
  readonly #kubeconfig: string;

  constructor(kubectl: string, kubeconfig: string) {
    this.#kubectl = kubectl;
    this.#kubeconfig = kubeconfig;
  }

  /** Installs the definitions of custom resources in a directory. Throws with kubectl's own words. */
  define(directory: string): undefined {
    this.#run(['apply', '--server-side', '-f', directory]);
    this.#run(['wait', '--for=condition=Established', '--timeout=30s', '-f', directory]);
  }

  /**
   * Applies the objects, which all are in `namespace`, and deletes it afterwards. Throws with kubectl's own words if an
   * object is rejected, if the server warns, or if a second apply would change something.
   *
   * @param meanwhile is called when all objects are applied
   * @returns the kinds of objects that the server does not know, and that were left out
   */
  apply(namespace: string, objects: readonly KubernetesObject[], meanwhile?: () => void): string[] {
    const known = objects.filter((object) => this.#serves(object));
    const text = toYaml(known);
    const isNamespace = ({ kind }: KubernetesObject) => kind === 'Namespace';
    const contents = toYaml(known.filter((object) => !isNamespace(object)));
    const apply = ['apply', '--validate=strict', '--warnings-as-errors', '-f'];
    try {
      this.#run([...apply, '-'], toYaml(known.filter(isNamespace)));
      this.#run([...apply, SECRET, '--namespace', namespace]);
      this.#run([...apply, '-', '--server-side', '--dry-run=server'], contents);
      this.#run([...apply, '-'], text);
      // Fails if another apply would change an object, which each apply would then do.
      this.#run(['diff', '-f', '-'], text);
      meanwhile?.();
    } finally {
      this.#run(['delete', 'namespace', namespace, '--ignore-not-found', '--wait=false']);
    }
    return objects.filter((object) => !known.includes(object)).map(({ kind }) => kind);
  }

  /**
   * Runs `set-floor.mjs` with a token of its account, as its CronJobs do. Throws if it fails, or if the account may do
   * more.
   */
  setFloor(namespace: string): void {
    const of = ['--namespace', namespace];
    const token = this.#run(['create', 'token', 'scheduled-floor', ...of]).trim();
    const server = this.#run(['config', 'view', '--minify', '-o', 'jsonpath={..server}']);
    const { hostname, port } = new URL(server);
    const directory = mkdtempSync(join(tmpdir(), 'flash-sale-floor-'));
    try {
      writeFileSync(join(directory, 'namespace'), namespace);
      writeFileSync(join(directory, 'token'), token);
      const script = readFileSync(join(REPOSITORY, SET_FLOOR), 'utf8').replace(ACCOUNT, directory);
      const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module'], {
        encoding: 'utf8',
        input: script,
        env: {
          KUBERNETES_SERVICE_HOST: hostname,
          KUBERNETES_SERVICE_PORT: port || '443',
          FLOOR: String(FLOOR),
          // The authority of a throw-away cluster may be unknown.
          NODE_TLS_REJECT_UNAUTHORIZED: '0',
        },
      });
      assert.equal(status, 0, `${SET_FLOOR}: ${stdout}${stderr}`);
    } finally {
      rmSync(directory, { recursive: true });
    }
    const floor = this.#run([
      'get',
      'hpa',
      'hot-path',
      ...of,
      '-o',
      'jsonpath={.spec.minReplicas}',
    ]);
    assert.equal(Number(floor), FLOOR, 'minReplicas is as set');
    const account = `system:serviceaccount:${namespace}:scheduled-floor`;
    for (const action of [
      ['delete', 'hpa/hot-path'],
      ['patch', 'deployment/hot-path'],
      ['get', 'secrets'],
    ]) {
      const { stdout } = this.#call(['auth', 'can-i', ...action, '--as', account, ...of]);
      assert.equal(stdout.trim(), 'no', `${account} may not ${action.join(' ')}`);
    }
  }

  #serves({ apiVersion, kind }: KubernetesObject): boolean {
    const path = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const { status, stdout } = this.#call(['get', '--raw', path]);
    if (status !== 0) return false;
    const { resources } = JSON.parse(stdout) as { resources: { kind: string }[] };
    return resources.some((resource) => resource.kind === kind);
  }

  #run(args: string[], input?: string): string {
    const { status, stdout, stderr, error } = this.#call(args, input);
    if (status !== 0 || stderr !== '') {
      throw new Error(`kubectl ${args.join(' ')}: ${error?.message ?? ''}${stderr}${stdout}`);
    }
    return stdout;
  }

  #call(args: string[], input = '') {
    return spawnSync(this.#kubectl, ['--kubeconfig', this.#kubeconfig, ...args], {
      encoding: 'utf8',
      input,
    });
  }
}
