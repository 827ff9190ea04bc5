/**
 * The metrics of a process, and `/metrics` of workers that share a port. The worker that receives the request queries
 * its supervisor over the IPC channel; the supervisor queries every worker and adds up the results.
 */
import { AggregatorRegistry, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

/** Much longer than a turn of a busy worker's event loop: a worker without a reply after that is stuck. */
const WORKER_TIMEOUT_MS = 1_000;
const SUPERVISOR_TIMEOUT_MS = 2 * WORKER_TIMEOUT_MS;

type Metrics = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** `round` numbers a worker's requests. */
type Message =
  | { request: 'metrics of all workers'; round: number }
  /** Without a text: this worker is the only one. */
  | { reply: 'metrics of all workers'; round: number; text: string | undefined }
  | { request: 'metrics of a worker' }
  | { reply: 'metrics of a worker'; metrics: Metrics };

interface Worker {
  readonly pid: number;
  /** Whether it already listens on its channel. */
  readonly hasStarted: boolean;
  send(message: object): void;
}

/**
 * Gauges that are not added up. The latest start time shows that a worker is new. Buyers may
 * meet the longest of several event loop delays. The library would omit the start time and average the delays.
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

/** What the supervisor itself measures. Only `/metrics` of several workers on one port has it. */
export function createWorkerMetrics(registry: Registry): Gauge<'process'> {
  return new Gauge({
    name: 'flash_sale_unresponsive_workers',
    help: 'Workers on this port that did not reply in time; their gauges are missing here',
    labelNames: ['process'],
    registers: [registry],
  });
}

/** The supervisor's side. */
export class WorkerMetrics {
  readonly #workers: () => readonly Worker[];
  /** The latest counters of each worker, by pid. */
  readonly #counters = new Map<number, Metrics>();
  /** The sum of the counters of workers that have ended. A sum that decreased would look like a counter reset. */
  #endedCounters: Metrics = [];
  /** Workers with a request in flight, by pid. A worker has one request at a time. */
  readonly #awaited = new Map<number, (metrics: Metrics) => void>();
  #gathering: Promise<string> | undefined;

  constructor(workers: () => readonly Worker[]) {
    this.#workers = workers;
  }

  receive(worker: Worker, message: unknown): void {
    if (!isMessage(message)) return;
    if ('request' in message && message.request === 'metrics of all workers') {
      this.#reply(worker, message.round).catch((error: unknown) => {
        console.error('The metrics of the workers could not be added up:', error);
      });
    } else if ('reply' in message && message.reply === 'metrics of a worker') {
      this.#counters.set(worker.pid, message.metrics.filter(isCounter));
      this.#awaited.get(worker.pid)?.(message.metrics);
      this.#awaited.delete(worker.pid);
    }
  }

  async #reply(worker: Worker, round: number): Promise<void> {
    const text = this.#workers().length > 1 ? await this.#gatherOnce() : undefined;
    worker.send({ reply: 'metrics of all workers', round, text } satisfies Message);
  }

  /** Concurrent requests share one result. */
  #gatherOnce(): Promise<string> {
    this.#gathering ??= this.#gather().finally(() => {
      this.#gathering = undefined;
    });
    return this.#gathering;
  }

  async #gather(): Promise<string> {
    const workers = this.#workers();
    const replies = new Map<number, Metrics>();
    await Promise.all(
      workers.map(async (worker) => {
        const { pid } = worker;
        const metrics = await this.#request(worker);
        if (metrics) replies.set(pid, metrics);
      }),
    );
    await this.#retireEnded(new Set(workers.map(({ pid }) => pid)));
    const unresponsive = [...this.#counters].filter(([pid]) => !replies.has(pid));
    const registry = sum([
      ...replies.values(),
      ...unresponsive.map(([, metrics]) => metrics),
      this.#endedCounters,
    ]);
    createWorkerMetrics(registry).set({ process: 'hot-path' }, workers.length - replies.size);
    return registry.metrics();
  }

  #request(worker: Worker): Promise<Metrics | undefined> {
    if (!worker.hasStarted) return Promise.resolve(undefined);
    const { pid } = worker;
    const isInFlight = this.#awaited.has(pid);
    return new Promise((resolve) => {
      const timeout = setTimeout(resolve, WORKER_TIMEOUT_MS, undefined);
      this.#awaited.set(pid, (metrics) => {
        clearTimeout(timeout);
        resolve(metrics);
      });
      if (!isInFlight) worker.send({ request: 'metrics of a worker' } satisfies Message);
    });
  }

  async #retireEnded(livePids: ReadonlySet<number>): Promise<void> {
    for (const pid of this.#awaited.keys()) if (!livePids.has(pid)) this.#awaited.delete(pid);
    for (const [pid, metrics] of this.#counters) {
      if (livePids.has(pid)) continue;
      this.#counters.delete(pid);
      this.#endedCounters = await sum([this.#endedCounters, metrics]).getMetricsAsJSON();
    }
  }
}

/**
 * The worker's side: produces the text of `/metrics`. Without a supervisor it is the worker's own. Rejects when the
 * supervisor does not reply, because the numbers of one worker would look like the loss of all others.
 */
export function metricsOfAllWorkers(registry: Registry): () => Promise<string> {
  if (!process.send) return () => registry.metrics();
  let round = 0;
  let pending: Promise<string> | undefined;
  let onReply: ((message: { text: string | undefined }) => void) | undefined;

  process.on('message', (message) => {
    if (!isMessage(message)) return;
    if ('request' in message && message.request === 'metrics of a worker') {
      void registry.getMetricsAsJSON().then((metrics) => send({ reply: message.request, metrics }));
    } else if ('reply' in message && message.reply === 'metrics of all workers') {
      if (message.round === round) onReply?.(message);
    }
  });

  const request = () =>
    new Promise<string>((resolve, reject) => {
      const timeout = setTimeout(() => {
        reject(new Error('The supervisor did not reply'));
      }, SUPERVISOR_TIMEOUT_MS);
      onReply = ({ text }) => {
        clearTimeout(timeout);
        resolve(text ?? registry.metrics());
      };
      send({ request: 'metrics of all workers', round: ++round });
    });

  return () => {
    pending ??= request().finally(() => {
      pending = undefined;
    });
    return pending;
  };
}

/** Ignores a failure: without its supervisor this process ends, too. */
function send(message: Message): void {
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

/** Unlike a gauge, a counter stays valid when its worker no longer replies. */
function isCounter({ type }: Metrics[number]): boolean {
  return ['counter', 'histogram'].includes(String(type));
}

function isMessage(message: unknown): message is Message {
  return (
    typeof message === 'object' && message !== null && ('request' in message || 'reply' in message)
  );
}
