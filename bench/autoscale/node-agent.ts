/** Runs the pods of a namespace that are assigned to nodes, each as a process, and reports their states to the API server. */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CoreV1Api,
  type KubeConfig,
  PatchStrategy,
  setHeaderOptions,
  type V1Container,
  type V1EnvVar,
  type V1Pod,
} from '@kubernetes/client-node';
import { followObjects } from '../../harness/kubernetes/follow-objects.ts';
import { type Scope, use } from '../../harness/use.ts';
import { PodProcess, requestedCores } from './pod-process.ts';
import { PodStatus } from './pod-status.ts';

/** All addresses of it lead to this machine. EndpointSlices may not contain 127.0.0.0/8. */
const NETWORK = '10.77.0.0/16';
const RETRY_MS = 1_000;
const MERGE = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);

export interface AgentChoices {
  namespace: string;
  /** The value of the label `app.kubernetes.io/name` of the pods whose CPU time is limited. */
  limited: string;
}

/** Until the scope ends. */
export async function useNodeAgent(
  scope: Scope,
  config: KubeConfig,
  choices: AgentChoices,
): Promise<NodeAgent> {
  await use(
    scope,
    () => route('replace'),
    () => route('del'),
  );
  const core = config.makeApiClient(CoreV1Api);
  const agent = await use(scope, () => new NodeAgent(core, choices));
  const { namespace } = choices;
  await followObjects(scope, {
    config,
    path: `/api/v1/namespaces/${namespace}/pods`,
    list: () => core.listNamespacedPod({ namespace }),
    onChange: (pod) => agent.see(pod),
  });
  return agent;
}

export class NodeAgent {
  /** CPU cores that an idle process uses. They do not shrink with its share, so a small share is raised by the difference. */
  idleCores = 0;
  /** Since the start, with those of pods that are gone. */
  restarts = 0;
  readonly #core: CoreV1Api;
  readonly #choices: AgentChoices;
  readonly #pods = new Map<string, PodProcess>();
  /** Names of pods that were seen. */
  readonly #known = new Set<string>();
  readonly #stopping = new Set<string>();
  #isStopped = false;
  #addresses = 0;

  constructor(core: CoreV1Api, choices: AgentChoices) {
    this.#core = core;
    this.#choices = choices;
  }

  /** By how much the share of a process is raised. Metrics do not count it. */
  idleExtra(cores: number): number {
    return this.idleCores * (1 - cores);
  }

  /** Pods that run, those that are stopping too. */
  get pods(): readonly PodProcess[] {
    return [...this.#pods.values()];
  }

  /** Those whose CPU time is limited. */
  get limitedPods(): readonly PodProcess[] {
    return this.pods.filter(({ isLimited }) => isLimited);
  }

  /** How many limited pods get requests. */
  get readyPods(): number {
    return this.limitedPods.filter(({ name, state }) => state.isReady && !this.#stopping.has(name))
      .length;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.pods.map((pod) => pod.kill()));
  }

  /** To be called at each change of a pod. */
  see(pod: V1Pod): void {
    const { name, deletionTimestamp } = pod.metadata!;
    if (this.#isStopped || !pod.spec?.nodeName) return;
    if (deletionTimestamp) {
      if (this.#stopping.has(name!)) return;
      this.#stopping.add(name!);
      void this.#remove(name!);
    } else if (!this.#known.has(name!)) {
      this.#known.add(name!);
      void this.#add(pod);
    }
  }

  async #add(pod: V1Pod): Promise<void> {
    const name = pod.metadata!.name!;
    const [container] = pod.spec!.containers as [V1Container];
    const environment = await this.#repeat(() => this.#environmentOf(container));
    if (!environment || this.#stopping.has(name)) return;
    this.#addresses += 1;
    const cores = requestedCores(pod);
    const isLimited = pod.metadata!.labels?.['app.kubernetes.io/name'] === this.#choices.limited;
    const status = new PodStatus(pod);
    let patches: Promise<unknown> = Promise.resolve();
    const process = new PodProcess(pod, {
      ip: `10.77.${this.#addresses >> 8}.${this.#addresses & 255}`,
      environment,
      limit: isLimited ? () => cores + this.idleExtra(cores) : undefined,
      onRestart: () => {
        this.restarts += 1;
      },
      onChange: () => {
        const now = status.of(process);
        // In order.
        patches = patches.then(() => this.#patch(name, now)).catch(console.error);
      },
    });
    this.#pods.set(name, process);
  }

  async #remove(name: string): Promise<void> {
    await this.#pods.get(name)?.stop();
    this.#pods.delete(name);
    const where = { name, namespace: this.#choices.namespace };
    await this.#repeat(() =>
      unlessGone(() => this.#core.deleteNamespacedPod({ ...where, gracePeriodSeconds: 0 })),
    );
  }

  async #patch(name: string, status: object): Promise<void> {
    const where = { name, namespace: this.#choices.namespace };
    await unlessGone(() =>
      this.#core.patchNamespacedPodStatus({ ...where, body: { status } }, MERGE),
    );
  }

  /** Until it succeeds or the agent stops, then undefined. */
  async #repeat<T>(action: () => Promise<T>): Promise<T | undefined> {
    while (!this.#isStopped) {
      try {
        return await action();
      } catch (error) {
        console.error(error);
        await sleep(RETRY_MS);
      }
    }
    return undefined;
  }

  async #environmentOf({ envFrom = [], env = [] }: V1Container): Promise<Record<string, string>> {
    const { namespace } = this.#choices;
    const all: Record<string, string> = {};
    for (const { configMapRef } of envFrom) {
      const where = { name: configMapRef!.name!, namespace };
      Object.assign(all, (await this.#core.readNamespacedConfigMap(where)).data);
    }
    for (const variable of env) all[variable.name] = await this.#valueOf(variable);
    return all;
  }

  async #valueOf({ value, valueFrom }: V1EnvVar): Promise<string> {
    const reference = valueFrom?.secretKeyRef;
    if (!reference) return value ?? '';
    const where = { name: reference.name!, namespace: this.#choices.namespace };
    const { data } = await this.#core.readNamespacedSecret(where);
    return Buffer.from(data![reference.key]!, 'base64').toString();
  }
}

async function unlessGone(action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if ((error as { code?: number }).code !== 404) throw error;
  }
}

function route(verb: 'replace' | 'del'): void {
  const { stderr, status, error } = spawnSync(
    'ip',
    ['route', verb, 'local', NETWORK, 'dev', 'lo'],
    { encoding: 'utf8' },
  );
  if (status === 0) return;
  throw new Error(
    `ip route ${verb} failed; addresses for pods need root and iproute2: ${error?.message ?? stderr}`,
  );
}
