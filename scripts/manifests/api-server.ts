/** Applies objects to a real API server, which knows more than any schema: defaults, admission, references, warnings. */
import { spawnSync } from 'node:child_process';
import { type KubernetesObject, toYaml } from '../../harness/kubernetes/kustomizations.ts';

const SECRET = 'k8s/secret.example.yaml';

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
   * @returns the kinds of objects that the server does not know, and that were left out
   */
  apply(namespace: string, objects: readonly KubernetesObject[]): string[] {
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
    } finally {
      this.#run(['delete', 'namespace', namespace, '--ignore-not-found', '--wait=false']);
    }
    return objects.filter((object) => !known.includes(object)).map(({ kind }) => kind);
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
