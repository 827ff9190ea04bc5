/**
 * `/metrics` of workers that share a port: whoever gets the connection answers for all. The worker asks its supervisor
 * over their channel, and the supervisor asks every worker and adds up.
 */
import { AggregatorRegistry, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

/** Much longer than a turn of a busy worker's loop: one that says nothing for so long is stuck. */
const WORKER_MS_MAX = 1_000;
const SUPERVISOR_MS_MAX = 2 * WORKER_MS_MAX;

type Metrics = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** What the two say to each other; `round` is the worker's own number for its question. */
type Message =
  | { asks: 'metrics of the group'; round: number }
  /** Without a text: the worker is the only one. */
  | { tells: 'metrics of the group'; round: number; text: string | undefined }
  | { asks: 'metrics of a worker' }
  | { tells: 'metrics of a worker'; metrics: Metrics };

export interface Worker {
  readonly pid: number;
  /** Whether it listens on its channel by now. */
  readonly hasStarted: boolean;
  send(message: object): void;
}

/**
 * How a gauge is put together where a sum says nothing: the most recent start shows that some worker is new, and of the
 * delays of several event loops the longest is what buyers may meet. The library leaves the first out and takes means.
 */
const AGGREGATORS: Readonly<Record<string, Metrics[number]['aggregator']>> = {
  process_start_time_seconds: 'max',
  nodejs_eventloop_lag_seconds: 'max',
  nodejs_eventloop_lag_p50_seconds: 'max',
  nodejs_eventloop_lag_p90_seconds: 'max',
  nodejs_eventloop_lag_p99_seconds: 'max',
};

/** A registry with the metrics of Node itself. */
export function createMetrics(process: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ process });
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** The supervisor's side. */
export class WorkerMetrics {
  readonly #workers: () => readonly Worker[];
  /** By pid, what each worker had counted when it last told. */
  readonly #counted = new Map<number, Metrics>();
  /** What workers had counted that are no more: a sum that went back would look as if all of it were new. */
  #departed: Metrics = [];
  /** By pid; who has not answered yet is not asked again. */
  readonly #awaited = new Map<number, (metrics: Metrics) => void>();
  #gathering: Promise<string> | undefined;

  constructor(workers: () => readonly Worker[]) {
    this.#workers = workers;
  }

  hear(worker: Worker, message: unknown): void {
    if (!isMessage(message)) return;
    if ('asks' in message && message.asks === 'metrics of the group') {
      this.#answer(worker, message.round).catch((error: unknown) => {
        console.error('The metrics of the workers could not be added up:', error);
      });
    } else if ('tells' in message && message.tells === 'metrics of a worker') {
      this.#counted.set(worker.pid, message.metrics.filter(isCount));
      this.#awaited.get(worker.pid)?.(message.metrics);
      this.#awaited.delete(worker.pid);
    }
  }

  async #answer(worker: Worker, round: number): Promise<void> {
    const isGroup = this.#workers().length > 1;
    const text = isGroup ? await this.#gatherOnce() : undefined;
    worker.send({ tells: 'metrics of the group', round, text } satisfies Message);
  }

  /** Whoever asks while workers are being asked gets the same answer. */
  #gatherOnce(): Promise<string> {
    this.#gathering ??= this.#gather().finally(() => {
      this.#gathering = undefined;
    });
    return this.#gathering;
  }

  async #gather(): Promise<string> {
    const workers = this.#workers();
    const answers = new Map<number, Metrics>();
    await Promise.all(
      workers.map(async (worker) => {
        const { pid } = worker;
        const metrics = await this.#ask(worker);
        if (metrics) answers.set(pid, metrics);
      }),
    );
    await this.#bury(new Set(workers.map(({ pid }) => pid)));
    const silent = [...this.#counted].filter(([pid]) => !answers.has(pid));
    const registry = sum([
      ...answers.values(),
      ...silent.map(([, metrics]) => metrics),
      this.#departed,
    ]);
    const gauge = new Gauge({
      name: 'flash_sale_silent_workers',
      help: 'Workers on this port whose gauges are left out here, since they did not answer',
      labelNames: ['process'],
      registers: [registry],
    });
    gauge.set({ process: 'hot-path' }, workers.length - answers.size);
    return registry.metrics();
  }

  #ask(worker: Worker): Promise<Metrics | undefined> {
    if (!worker.hasStarted) return Promise.resolve(undefined);
    const { pid } = worker;
    const isAsked = this.#awaited.has(pid);
    return new Promise((resolve) => {
      const late = setTimeout(resolve, WORKER_MS_MAX, undefined);
      this.#awaited.set(pid, (metrics) => {
        clearTimeout(late);
        resolve(metrics);
      });
      if (!isAsked) worker.send({ asks: 'metrics of a worker' } satisfies Message);
    });
  }

  async #bury(pids: ReadonlySet<number>): Promise<void> {
    for (const pid of this.#awaited.keys()) if (!pids.has(pid)) this.#awaited.delete(pid);
    for (const [pid, metrics] of this.#counted) {
      if (pids.has(pid)) continue;
      this.#counted.delete(pid);
      this.#departed = await sum([this.#departed, metrics]).getMetricsAsJSON();
    }
  }
}

/**
 * The worker's side: what `/metrics` answers. Without a supervisor, its own. Rejects when the supervisor says
 * nothing: the numbers of one worker would look like the loss of all others.
 */
export function metricsOfAllWorkers(registry: Registry): () => Promise<string> {
  if (!process.send) return () => registry.metrics();
  let round = 0;
  let asking: Promise<string> | undefined;
  let answered: ((message: { text: string | undefined }) => void) | undefined;

  process.on('message', (message) => {
    if (!isMessage(message)) return;
    if ('asks' in message && message.asks === 'metrics of a worker') {
      void registry.getMetricsAsJSON().then((metrics) => tell({ tells: message.asks, metrics }));
    } else if ('tells' in message && message.tells === 'metrics of the group') {
      if (message.round === round) answered?.(message);
    }
  });

  const ask = () =>
    new Promise<string>((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Error('the supervisor does not answer'));
      }, SUPERVISOR_MS_MAX);
      answered = ({ text }) => {
        clearTimeout(late);
        resolve(text ?? registry.metrics());
      };
      tell({ asks: 'metrics of the group', round: ++round });
    });

  return () => {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    return asking;
  };
}

/** What is told to a supervisor that is gone is lost, and this process ends too. */
function tell(message: Message): void {
  process.send?.(message, undefined, undefined, () => undefined);
}

function sum(all: Metrics[]): Registry {
  const chosen = all.map((metrics) =>
    metrics.map((metric) => ({
      ...metric,
      aggregator: AGGREGATORS[metric.name] ?? metric.aggregator,
    })),
  );
  return AggregatorRegistry.aggregate(chosen);
}

/** Unlike a gauge, it stays true of a worker that says no more. */
function isCount({ type }: Metrics[number]): boolean {
  return ['counter', 'histogram'].includes(String(type));
}

function isMessage(message: unknown): message is Message {
  return (
    typeof message === 'object' && message !== null && ('asks' in message || 'tells' in message)
  );
}
