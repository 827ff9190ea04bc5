/** A real Prometheus on a free loopback port, with the rules that it is given. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';
import { findFreePorts } from '../../src/process/free-port.ts';
import { type Scope, use } from '../use.ts';
import { asTestServer, ServerProcess, type TestServer } from './server-process.ts';

export interface PrometheusChoices {
  /** Ports of the loopback interface by job. */
  targets: Record<string, readonly number[]>;
  /** Rule files, by name. */
  rules: Record<string, object>;
  /** Between two scrapes, and between two evaluations of the rules. */
  intervalMs: number;
}

interface Sample {
  metric: Record<string, string>;
  value: number;
}

interface ActiveAlert {
  labels: Record<string, string>;
  state: 'pending' | 'firing';
}

export interface Prometheus extends TestServer {
  /** The instant value of an expression. Throws its mistakes. */
  query(expr: string): Promise<Sample[]>;
  alerts(): Promise<ActiveAlert[]>;
}

export function usePrometheus(scope: Scope, choices: PrometheusChoices): Promise<Prometheus> {
  return use(scope, () => startPrometheus(choices));
}

async function startPrometheus(choices: PrometheusChoices): Promise<Prometheus> {
  const command = findProgram('prometheus');
  if (!command)
    throw new Error('Prometheus is not installed; set-up with --with-prometheus installs it');
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-prometheus-'));
  const [port] = await findFreePorts(1);
  const { targets, rules, intervalMs } = choices;
  for (const [name, content] of Object.entries(rules))
    writeFileSync(join(directory, name), stringify(content));
  const interval = `${intervalMs}ms`;
  const config = {
    global: {
      scrape_interval: interval,
      evaluation_interval: interval,
      scrape_timeout: interval,
    },
    rule_files: Object.keys(rules),
    scrape_configs: Object.entries(targets).map(([job, ports]) => ({
      job_name: job,
      static_configs: [{ targets: ports.map((each) => `127.0.0.1:${each}`) }],
    })),
  };
  const file = join(directory, 'prometheus.yaml');
  writeFileSync(file, stringify(config));
  const url = `http://127.0.0.1:${port}`;
  const server = await ServerProcess.start({
    command,
    args: [
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ],
    stopSignal: 'SIGTERM',
    isReady: async () => (await fetch(`${url}/-/ready`)).ok,
  });
  const get = async (path: string) => {
    const response = await fetch(url + path);
    const body = (await response.json()) as { status: string; error?: string; data: unknown };
    if (body.status !== 'success') throw new Error(`Prometheus: ${body.error}`);
    return body.data;
  };
  return Object.assign(asTestServer(server, url, port!, directory), {
    async query(expr: string) {
      const data = (await get(`/api/v1/query?query=${encodeURIComponent(expr)}`)) as {
        result: { metric: Record<string, string>; value: [number, string] }[];
      };
      return data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
    },
    async alerts() {
      return ((await get('/api/v1/alerts')) as { alerts: ActiveAlert[] }).alerts;
    },
  });
}
