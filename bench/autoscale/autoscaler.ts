/** The autoscaler of the hot path: its specification is that of `k8s/hpa.yaml`, with other limits. */
import assert from 'node:assert/strict';
import { AutoscalingV2Api } from '@kubernetes/client-node';
import { eventually } from '../../harness/eventually.ts';
import type { Cluster } from './cluster.ts';

const NAME = 'hot-path';
/** What starting pods use must not count as a crowd. */
const CALM_PERCENT_MAX = 30;
/** Long enough for two measurements of each pod; without any, its use counts as 0. */
const CALM_FOR_MS = 31_000;
const CALM_MS_MAX = 180_000;

/** JSON of the API server; its other fields are passed on as they are. */
type Spec = Readonly<Record<string, unknown>> & { readonly minReplicas: number };

export interface Limits {
  least: number;
  most: number;
}

export interface AutoscalerReading {
  /** The number of pods that it has decided on. */
  desiredPods: number | undefined;
  /** Its figure: percent of the request, averaged over the pods. */
  cpuPercent: number | undefined;
}

export class Autoscaler {
  readonly #cluster: Cluster;
  readonly #api: AutoscalingV2Api;
  /** As applied at the start. */
  readonly spec: Spec;

  constructor(cluster: Cluster, spec: Spec) {
    this.#cluster = cluster;
    this.#api = cluster.config.makeApiClient(AutoscalingV2Api);
    this.spec = spec;
  }

  static async of(cluster: Cluster): Promise<Autoscaler> {
    const text = await cluster.kubectl('get', 'hpa', NAME, '--output', 'json');
    return new Autoscaler(cluster, JSON.parse(text).spec);
  }

  async remove(): Promise<void> {
    await this.#cluster.kubectl('delete', 'hpa', NAME, '--ignore-not-found');
  }

  /** Keeps the number of pods until their CPU is low; then permits scaling. */
  async start({ least, most }: Limits): Promise<void> {
    await this.#apply({ ...this.spec, minReplicas: least, maxReplicas: least });
    let calmFromMs = performance.now();
    await eventually(
      async () => {
        const { cpuPercent = 100 } = await this.read();
        if (cpuPercent > CALM_PERCENT_MAX) calmFromMs = performance.now();
        assert.ok(performance.now() - calmFromMs >= CALM_FOR_MS, `CPU ${cpuPercent} %`);
      },
      { timeoutMs: CALM_MS_MAX, pollMs: 1_000 },
    );
    await this.#apply({ ...this.spec, minReplicas: least, maxReplicas: most });
  }

  async read(): Promise<AutoscalerReading> {
    const where = { name: NAME, namespace: this.#cluster.namespace };
    const { status } = await this.#api.readNamespacedHorizontalPodAutoscaler(where);
    return {
      desiredPods: status?.desiredReplicas,
      cpuPercent: status?.currentMetrics?.[0]?.resource?.current.averageUtilization,
    };
  }

  async #apply(spec: Spec): Promise<void> {
    const kind = { apiVersion: 'autoscaling/v2', kind: 'HorizontalPodAutoscaler' };
    await this.#cluster.apply(JSON.stringify({ ...kind, metadata: { name: NAME }, spec }));
  }
}
