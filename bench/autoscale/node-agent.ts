/** Runs the pods of a namespace that are assigned to nodes, each as a process, and reports their states to the API server. */
import { spawnSync } from 'node:child_process';
import {
  CoreV1Api,
  type KubeConfig,
  makeInformer,
  PatchStrategy,
  setHeaderOptions,
  type V1Container,
  type V1EnvVar,
  type V1Pod,
  type V1PodCondition,
} from '@kubernetes/client-node';
import { type Scope, use } from '../../harness/use.ts';
import { PodProcess, requestedCores } from './pod-process.ts';

/** All addresses of it lead to this machine. EndpointSlices may not contain 127.0.0.0/8. */
const NETWORK = '10.77.0.0/16';
const RESTART_WATCH_MS = 1_000;
const MERGE = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);

export interface AgentChoices {
  namespace: string;
  /** The value of the label `app.kubernetes.io/name` of pods that get only what they request. */
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
    () => ip('add'),
    () => ip('del'),
  );
  return use(scope, () => NodeAgent.start(config, choices));
}

export class NodeAgent {
  readonly #core: CoreV1Api;
  readonly #namespace: string;
  readonly #limited: string;
  readonly #pods = new Map<string, PodProcess>();
  readonly #stopping = new Set<string>();
  #stopWatch: () => Promise<void> = async () => undefined;
  #addresses = 0;

  private constructor(config: KubeConfig, choices: AgentChoices) {
    this.#core = config.makeApiClient(CoreV1Api);
    this.#namespace = choices.namespace;
    this.#limited = choices.limited;
  }

  static async start(config: KubeConfig, choices: AgentChoices): Promise<NodeAgent> {
    const agent = new NodeAgent(config, choices);
    await agent.#watch(config);
    return agent;
  }

  /**
   * What a process uses without requests, in cores. It is the same whatever its share is: with a whole core, a smaller part
   * of it. So a small share is raised by the difference, which counts as no use of it.
   */
  idleCores = 0;

  idleExtra(cores: number): number {
    return this.idleCores * (1 - cores);
  }

  /** Pods that run, those that are stopping too. */
  get pods(): readonly PodProcess[] {
    return [...this.#pods.values()];
  }

  /** That get requests. */
  get readyPods(): number {
    return this.pods.filter(
      ({ name, state }) =>
        state.isReady && !this.#stopping.has(name) && name.startsWith(this.#limited),
    ).length;
  }

  /** Of all pods. */
  get restarts(): number {
    return this.pods.reduce((sum, { state }) => sum + state.restarts, 0);
  }

  async stop(): Promise<void> {
    await this.#stopWatch();
    await Promise.all(this.pods.map((pod) => pod.kill()));
  }

  async #watch(config: KubeConfig): Promise<void> {
    const namespace = this.#namespace;
    const informer = makeInformer(config, `/api/v1/namespaces/${namespace}/pods`, () =>
      this.#core.listNamespacedPod({ namespace }),
    );
    const see = (pod: V1Pod) => void this.#see(pod).catch(console.error);
    informer.on('add', see);
    informer.on('update', see);
    informer.on('error', () => setTimeout(() => void informer.start(), RESTART_WATCH_MS));
    await informer.start();
    this.#stopWatch = () => informer.stop();
  }

  async #see(pod: V1Pod): Promise<void> {
    const { name, deletionTimestamp } = pod.metadata!;
    const running = this.#pods.get(name!);
    if (deletionTimestamp) {
      if (running && !this.#stopping.has(name!)) await this.#remove(name!, running);
    } else if (!running && pod.spec!.nodeName && pod.status?.phase === 'Pending') {
      await this.#add(pod);
    }
  }

  async #add(pod: V1Pod): Promise<void> {
    const name = pod.metadata!.name!;
    const startTime = new Date();
    this.#addresses += 1;
    const address = `10.77.${this.#addresses >> 8}.${this.#addresses & 255}`;
    const isLimited = pod.metadata!.labels?.['app.kubernetes.io/name'] === this.#limited;
    const cores = requestedCores(pod);
    let patches: Promise<unknown> = Promise.resolve();
    const process = new PodProcess(pod, {
      ip: address,
      environment: await this.#environmentOf(pod.spec!.containers[0]!),
      limit: isLimited ? () => cores + this.idleExtra(cores) : undefined,
      onChange: () => {
        const status = statusOf(pod, process, startTime);
        // In order.
        patches = patches.then(() => this.#patch(name, status)).catch(console.error);
      },
    });
    this.#pods.set(name, process);
  }

  async #remove(name: string, process: PodProcess): Promise<void> {
    this.#stopping.add(name);
    await process.stop();
    this.#pods.delete(name);
    await this.#core.deleteNamespacedPod({
      name,
      namespace: this.#namespace,
      gracePeriodSeconds: 0,
    });
  }

  async #patch(name: string, status: object): Promise<void> {
    try {
      const where = { name, namespace: this.#namespace };
      await this.#core.patchNamespacedPodStatus({ ...where, body: { status } }, MERGE);
    } catch (error) {
      // The pod was deleted meanwhile.
      if ((error as { code?: number }).code !== 404) throw error;
    }
  }

  async #environmentOf({ envFrom = [], env = [] }: V1Container): Promise<Record<string, string>> {
    const all: Record<string, string> = {};
    for (const { configMapRef } of envFrom) {
      const where = { name: configMapRef!.name!, namespace: this.#namespace };
      Object.assign(all, (await this.#core.readNamespacedConfigMap(where)).data);
    }
    for (const variable of env) all[variable.name] = await this.#valueOf(variable);
    return all;
  }

  async #valueOf({ value, valueFrom }: V1EnvVar): Promise<string> {
    const reference = valueFrom?.secretKeyRef;
    if (!reference) return value ?? '';
    const where = { name: reference.name!, namespace: this.#namespace };
    const { data } = await this.#core.readNamespacedSecret(where);
    return Buffer.from(data![reference.key]!, 'base64').toString();
  }
}

/** As a kubelet reports it. */
function statusOf(pod: V1Pod, { ip: podIP, state }: PodProcess, startTime: Date): object {
  const { name, image } = pod.spec!.containers[0]!;
  const { phase, isStarted, isReady, restarts } = state;
  const isDone = phase === 'done';
  const now = new Date();
  const condition = (type: string, holds: boolean): V1PodCondition => ({
    type,
    status: holds ? 'True' : 'False',
    lastTransitionTime: now,
  });
  return {
    phase: isDone ? 'Succeeded' : phase === 'starting' && restarts === 0 ? 'Pending' : 'Running',
    podIP,
    podIPs: [{ ip: podIP }],
    startTime,
    conditions: [
      ...(pod.status?.conditions ?? []).filter(({ type }) => type === 'PodScheduled'),
      condition('Initialized', true),
      condition('ContainersReady', isReady),
      condition('Ready', isReady),
    ],
    containerStatuses: [
      {
        name,
        image,
        imageID: image,
        ready: isReady,
        started: isStarted,
        restartCount: restarts,
        state: isDone
          ? { terminated: { exitCode: 0, startedAt: startTime, finishedAt: now } }
          : phase === 'running'
            ? { running: { startedAt: now } }
            : { waiting: { reason: 'ContainerCreating' } },
      },
    ],
  };
}

function ip(verb: 'add' | 'del'): void {
  const { stderr, status } = spawnSync('ip', ['route', verb, 'local', NETWORK, 'dev', 'lo'], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`addresses for pods need root and iproute2: ${stderr}`);
}
