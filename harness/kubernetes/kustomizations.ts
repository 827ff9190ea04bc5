/** What k8s/ consists of, read without kustomize: the overlays, the components, and the objects that each one collects. */
import { globSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parse, parseAllDocuments, stringify } from 'yaml';

export const REPOSITORY = join(import.meta.dirname, '../..');

/** Directories that people apply. k8s/ itself is production with hpa.yaml. */
export const OVERLAYS = ['k8s', 'k8s/overlays/dev', 'k8s/overlays/production-keda'] as const;

/** All components, such as `k8s/components/redis`. */
export const COMPONENTS = globSync('k8s/components/*/kustomization.yaml', { cwd: REPOSITORY })
  .map(dirname)
  .toSorted();

export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Record<string, string> };
  /** Its fields depend on the kind. */
  // oxlint-disable-next-line typescript/no-explicit-any
  spec: any;
  data?: Record<string, string>;
  stringData?: Record<string, string>;
  rules?: object[];
}

interface Kustomization {
  kind: 'Kustomization' | 'Component';
  namespace?: string;
  resources?: string[];
  components?: string[];
  replicas?: { name: string; count: number }[];
  patches?: { target?: { kind: string; name?: string }; patch: string }[];
  images?: { name: string; newTag: string }[];
  configMapGenerator?: { name: string; files: string[] }[];
}

export function kustomizationIn(directory: string): Kustomization {
  return parse(readFileSync(join(REPOSITORY, directory, 'kustomization.yaml'), 'utf8'));
}

/** Every kustomization that `directory` leads to, itself first. */
export function kustomizationsOf(directory: string): string[] {
  const { resources = [], components = [] } = kustomizationIn(directory);
  const paths = [...resources, ...components].map((path) => join(directory, path));
  return [directory, ...paths.filter(isDirectory).flatMap(kustomizationsOf)];
}

/** The files of objects that `directory` leads to. */
export function filesOf(directory: string): string[] {
  return kustomizationsOf(directory).flatMap((each) =>
    (kustomizationIn(each).resources ?? [])
      .map((path) => join(each, path))
      .filter((path) => !isDirectory(path)),
  );
}

/** The objects that `directory` leads to, before any patch. */
export function objectsOf(directory: string): KubernetesObject[] {
  return filesOf(directory).flatMap(objectsIn);
}

export function objectsIn(file: string): KubernetesObject[] {
  return parseAllDocuments(readFileSync(join(REPOSITORY, file), 'utf8')).map((document) =>
    document.toJS(),
  );
}

/** For kubectl and Python, which read YAML 1.1: there, a bare `yes` is true. */
export function toYaml(objects: readonly KubernetesObject[]): string {
  return objects.map((object) => stringify(object, { version: '1.1' })).join('---\n');
}

/** Such as `dev`, or `production` for k8s/. */
export function nameOf(directory: string): string {
  return directory === 'k8s' ? 'production' : basename(directory);
}

function isDirectory(path: string): boolean {
  return statSync(join(REPOSITORY, path)).isDirectory();
}
