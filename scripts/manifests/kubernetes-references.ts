/**
 * What no schema can know about the manifests in k8s/: that names, ports, labels, secrets and the configuration
 * agree, and that every pod keeps to the rules of this folder.
 */
import { z } from 'zod';
import type { VARIABLES } from '../../src/config.ts';
import { redisSettingComplaints } from './compose-references.ts';

/** runUntilStopped in src/process/lifecycle.ts gives up closing after so many seconds. */
const CLOSE_DEADLINE_SECONDS = 10;

const labels = z.record(z.string(), z.string());
const probe = z.looseObject({
  httpGet: z.object({ path: z.string(), port: z.string() }).optional(),
});

const containerShape = z.looseObject({
  name: z.string(),
  image: z.string(),
  args: z.array(z.string()).default([]),
  envFrom: z.array(z.object({ configMapRef: z.object({ name: z.string() }) })).default([]),
  env: z
    .array(
      z.object({
        name: z.string(),
        value: z.string().optional(),
        valueFrom: z
          .object({ secretKeyRef: z.object({ name: z.string(), key: z.string() }) })
          .optional(),
      }),
    )
    .default([]),
  ports: z.array(z.object({ name: z.string(), containerPort: z.number() })).default([]),
  startupProbe: probe.optional(),
  readinessProbe: probe.optional(),
  livenessProbe: probe.optional(),
  lifecycle: z
    .object({ preStop: z.object({ sleep: z.object({ seconds: z.number() }) }) })
    .optional(),
  resources: z
    .object({ requests: labels.default({}), limits: labels.default({}) })
    .default({ requests: {}, limits: {} }),
  securityContext: z.looseObject({}).default({}),
});
type Container = z.infer<typeof containerShape>;

const podShape = z.looseObject({
  enableServiceLinks: z.boolean().optional(),
  terminationGracePeriodSeconds: z.number().default(30),
  securityContext: z.looseObject({}).default({}),
  topologySpreadConstraints: z
    .array(z.looseObject({ labelSelector: z.object({ matchLabels: labels }) }))
    .default([]),
  containers: z.array(containerShape).length(1),
});
type Pod = z.infer<typeof podShape>;

const objectShape = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});

const workloadShape = objectShape.extend({
  spec: z.looseObject({
    replicas: z.number().optional(),
    selector: z.object({ matchLabels: labels }).optional(),
    template: z.object({ metadata: z.object({ labels }), spec: podShape }),
  }),
});
type Workload = z.infer<typeof workloadShape>;

const serviceShape = objectShape.extend({
  spec: z.looseObject({
    selector: labels,
    ports: z.array(z.object({ name: z.string(), port: z.number(), targetPort: z.string() })),
  }),
});
type Service = z.infer<typeof serviceShape>;

const autoscalerShape = objectShape.extend({
  spec: z.looseObject({ scaleTargetRef: z.object({ kind: z.string(), name: z.string() }) }),
});

/** NetworkPolicy and PodDisruptionBudget: both say which pods they mean. */
const podSelectorShape = objectShape.extend({
  spec: z.looseObject({
    podSelector: z.object({ matchLabels: labels }).optional(),
    selector: z.object({ matchLabels: labels }).optional(),
  }),
});

const dataShape = objectShape.extend({
  data: labels.default({}),
  stringData: labels.default({}),
});

const kustomizationShape = z.looseObject({
  resources: z.array(z.string()),
  images: z.array(z.looseObject({ name: z.string() })).default([]),
});

export interface KubernetesSurroundings {
  variables: typeof VARIABLES;
  /** Of the Dockerfile's last USER. */
  imageUser: number;
}

interface Cluster {
  workloads: Workload[];
  services: Service[];
  /** Keys by `Kind/name`, of ConfigMaps and Secrets. */
  keys: Map<string, string[]>;
}

/** Files by name, each with its documents; one sentence for each thing that does not fit. */
export function kubernetesComplaints(
  files: ReadonlyMap<string, readonly unknown[]>,
  surroundings: KubernetesSurroundings,
): string[] {
  try {
    return complaintsOf(files, surroundings);
  } catch (error) {
    if (error instanceof z.ZodError)
      return [`not in the form that is checked here: ${error.message}`];
    throw error;
  }
}

function complaintsOf(
  files: ReadonlyMap<string, readonly unknown[]>,
  surroundings: KubernetesSurroundings,
): string[] {
  const kustomization = kustomizationShape.parse(files.get('kustomization.yaml')?.[0]);
  const documents = [...files]
    .filter(([file]) => file !== 'kustomization.yaml')
    .flatMap(([, contents]) => contents);
  const ofKind = (...kinds: string[]) =>
    documents.filter((document) => kinds.includes(objectShape.parse(document).kind));
  const cluster: Cluster = {
    workloads: ofKind('Deployment', 'StatefulSet', 'Job').map((document) =>
      workloadShape.parse(document),
    ),
    services: ofKind('Service').map((document) => serviceShape.parse(document)),
    keys: new Map(
      ofKind('ConfigMap', 'Secret').map((document) => {
        const { kind, metadata, data, stringData } = dataShape.parse(document);
        return [`${kind}/${metadata.name}`, [...Object.keys(data), ...Object.keys(stringData)]];
      }),
    ),
  };
  return [
    ...kustomizationComplaints(kustomization, files, cluster),
    ...cluster.workloads.flatMap((workload) => workloadComplaints(workload, cluster, surroundings)),
    ...cluster.services.flatMap((service) => serviceComplaints(service, cluster)),
    ...ofKind('HorizontalPodAutoscaler').flatMap((document) =>
      autoscalerComplaints(autoscalerShape.parse(document), cluster),
    ),
    ...ofKind('NetworkPolicy', 'PodDisruptionBudget').flatMap((document) => {
      const { kind, metadata, spec } = podSelectorShape.parse(document);
      const wanted = (spec.podSelector ?? spec.selector)?.matchLabels ?? {};
      if (podsWith(wanted, cluster).length > 0) return [];
      return [`${kind} ${metadata.name}: no pod has the labels it selects`];
    }),
  ];
}

function kustomizationComplaints(
  { resources, images }: z.infer<typeof kustomizationShape>,
  files: ReadonlyMap<string, readonly unknown[]>,
  cluster: Cluster,
): string[] {
  const complaints = resources
    .filter((file) => !files.has(file))
    .map((file) => `kustomization: ${file} is not there`);
  for (const file of files.keys()) {
    const apart = file === 'kustomization.yaml' || file.endsWith('.example.yaml');
    if (apart && resources.includes(file)) complaints.push(`kustomization: applies ${file}`);
    if (!apart && !resources.includes(file)) complaints.push(`kustomization: leaves out ${file}`);
  }
  const used = cluster.workloads.map((workload) => containerOf(workload).image);
  for (const { name } of images) {
    if (!used.includes(name)) complaints.push(`kustomization: no container has the image ${name}`);
  }
  return complaints;
}

function workloadComplaints(
  workload: Workload,
  cluster: Cluster,
  { variables, imageUser }: KubernetesSurroundings,
): string[] {
  const container = containerOf(workload);
  const pod = workload.spec.template.spec;
  const ours = container.image === 'flash-sale';
  const complaints = [
    ...podComplaints(pod, workload),
    ...containerComplaints(container, workload.kind),
    ...referenceComplaints(container, cluster),
    ...(ours ? variableComplaints(container, cluster, variables) : []),
  ];
  if (ours && pod.securityContext.runAsUser !== imageUser) {
    complaints.push(`runs as another user than the image's ${imageUser}`);
  }
  if (container.name === 'redis') complaints.push(...redisSettingComplaints(container.args));
  return complaints.map((complaint) => `${workload.kind} ${workload.metadata.name}: ${complaint}`);
}

function podComplaints(pod: Pod, { spec }: Workload): string[] {
  const complaints: string[] = [];
  const own = spec.template.metadata.labels;
  if (spec.selector && !includes(own, spec.selector.matchLabels)) {
    complaints.push('its selector does not select its own pods');
  }
  for (const { labelSelector } of pod.topologySpreadConstraints) {
    if (!includes(own, labelSelector.matchLabels)) complaints.push('spreads the pods of another');
  }
  if (pod.enableServiceLinks !== false) {
    complaints.push('enableServiceLinks is on: the Service hot-path would set HOT_PATH_PORT');
  }
  if (pod.securityContext.runAsNonRoot !== true) complaints.push('may run as root');
  if (JSON.stringify(pod.securityContext.seccompProfile) !== '{"type":"RuntimeDefault"}') {
    complaints.push('its seccomp profile is not RuntimeDefault');
  }
  const preStopSeconds = pod.containers[0]?.lifecycle?.preStop.sleep.seconds ?? 0;
  if (pod.terminationGracePeriodSeconds < preStopSeconds + CLOSE_DEADLINE_SECONDS) {
    complaints.push('is killed before preStop and closing can be over');
  }
  return complaints;
}

function containerComplaints(container: Container, kind: string): string[] {
  const complaints: string[] = [];
  const context = container.securityContext;
  if (context.readOnlyRootFilesystem !== true) complaints.push('may write to its image');
  if (context.allowPrivilegeEscalation !== false) complaints.push('may gain privileges');
  if (JSON.stringify(context.capabilities) !== '{"drop":["ALL"]}') {
    complaints.push('keeps capabilities');
  }
  const { requests, limits } = container.resources;
  if (!requests.cpu || !requests.memory || !limits.memory) {
    complaints.push('lacks a request of CPU or memory, or a limit of memory');
  }
  if (kind === 'Job') return complaints;
  const probes = [container.startupProbe, container.readinessProbe, container.livenessProbe];
  if (probes.includes(undefined)) complaints.push('lacks a probe');
  for (const asked of probes.flatMap((one) => one?.httpGet ?? [])) {
    if (!container.ports.some(({ name }) => name === asked.port)) {
      complaints.push(`a probe asks the port ${asked.port}, which it does not have`);
    }
  }
  const paths = probes.flatMap((one) => one?.httpGet?.path ?? []);
  if (paths.length > 0 && paths.join(' ') !== '/readyz /readyz /healthz') {
    complaints.push(`its probes ask ${paths.join(' ')}, not /readyz /readyz /healthz`);
  }
  return complaints;
}

/** Secrets, config maps, `$(NAME)` and the hosts in URLs: everything that is named is somewhere. */
function referenceComplaints(container: Container, cluster: Cluster): string[] {
  const complaints: string[] = [];
  const earlier = new Set<string>();
  for (const { name } of container.envFrom.map((source) => source.configMapRef)) {
    if (!cluster.keys.has(`ConfigMap/${name}`)) complaints.push(`there is no ConfigMap ${name}`);
  }
  for (const { name, value = '', valueFrom } of container.env) {
    if (valueFrom) {
      const { name: secret, key } = valueFrom.secretKeyRef;
      if (!cluster.keys.get(`Secret/${secret}`)?.includes(key)) {
        complaints.push(`${name}: Secret ${secret} has no ${key} in secret.example.yaml`);
      }
    }
    for (const [, used] of value.matchAll(/\$\(([A-Z_]+)\)/g)) {
      if (!earlier.has(used!)) complaints.push(`${name} uses ${used}, which is not set above it`);
    }
    const url = /^[a-z+]+:\/\/(?:[^/]*@)?([a-z0-9-]+):(\d+)/.exec(value);
    if (url && !listens(url[1]!, Number(url[2]), cluster)) {
      complaints.push(`${name}: no Service ${url[1]} has the port ${url[2]}`);
    }
    earlier.add(name);
  }
  return complaints;
}

function variableComplaints(
  container: Container,
  cluster: Cluster,
  variables: typeof VARIABLES,
): string[] {
  const subcommand = container.args[0] ?? '';
  const read = new Map<string, string[]>(Object.entries(variables)).get(subcommand);
  if (!read) return [`"${subcommand}" is not a subcommand that src/config.ts knows`];
  const expanded = new Set(
    container.env.flatMap(({ value = '' }) =>
      [...value.matchAll(/\$\(([A-Z_]+)\)/g)].map((match) => match[1]!),
    ),
  );
  const shared = container.envFrom.flatMap(
    ({ configMapRef }) => cluster.keys.get(`ConfigMap/${configMapRef.name}`) ?? [],
  );
  const complaints = [...shared, ...container.env.map(({ name }) => name)]
    .filter((name) => !read.includes(name) && !expanded.has(name))
    .map((name) => `sets ${name}, which ${subcommand} does not read`);
  for (const { name, value } of container.env) {
    if (!name.endsWith('_PORT')) continue;
    if (!container.ports.some(({ containerPort }) => containerPort === Number(value))) {
      complaints.push(`${name} is ${value}, which is not among its ports`);
    }
  }
  return complaints;
}

function serviceComplaints(service: Service, cluster: Cluster): string[] {
  const pods = podsWith(service.spec.selector, cluster);
  const who = `Service ${service.metadata.name}`;
  if (pods.length !== 1)
    return [`${who}: selects the pods of ${pods.length} workloads, not of one`];
  const names = containerOf(pods[0]!).ports.map(({ name }) => name);
  return service.spec.ports
    .filter(({ targetPort }) => !names.includes(targetPort))
    .map(({ targetPort }) => `${who}: its pods have no port ${targetPort}`);
}

function autoscalerComplaints(
  { metadata, spec }: z.infer<typeof autoscalerShape>,
  cluster: Cluster,
): string[] {
  const { kind, name } = spec.scaleTargetRef;
  const who = `HorizontalPodAutoscaler ${metadata.name}`;
  const target = cluster.workloads.find(
    (workload) => workload.kind === kind && workload.metadata.name === name,
  );
  if (!target) return [`${who}: there is no ${kind} ${name}`];
  if (target.spec.replicas === undefined) return [];
  return [`${who}: ${kind} ${name} sets replicas too, and each apply would undo the scaling`];
}

function containerOf(workload: Workload): Container {
  return workload.spec.template.spec.containers[0]!;
}

function podsWith(wanted: Record<string, string>, cluster: Cluster): Workload[] {
  return cluster.workloads.filter(({ spec }) => includes(spec.template.metadata.labels, wanted));
}

function includes(all: Record<string, string>, wanted: Record<string, string>): boolean {
  const entries = Object.entries(wanted);
  return entries.length > 0 && entries.every(([key, value]) => all[key] === value);
}

function listens(host: string, port: number, cluster: Cluster): boolean {
  const service = cluster.services.find(({ metadata }) => metadata.name === host);
  return service?.spec.ports.some((one) => one.port === port) ?? false;
}
