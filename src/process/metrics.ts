/** The registry of a process' metrics, with those of Node itself. */
import { collectDefaultMetrics, Registry } from 'prom-client';

export function createMetrics(process: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ process });
  collectDefaultMetrics({ register: registry });
  return registry;
}
