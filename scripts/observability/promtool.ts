/** Checks with promtool, the tool of Prometheus itself. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';

/** Throws with promtool's own words if it finds a mistake. Returns what it prints. */
export function promtool(...args: string[]): string {
  const command = findProgram('promtool');
  if (!command) throw new Error('promtool is not installed; npm run check:alerts installs it');
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`promtool ${args.join(' ')}:\n${stdout}${stderr}`);
  return stdout;
}

/** Throws if an expression is not PromQL. promtool parses rules only, so each becomes one. */
export function requirePromQl(expressions: readonly string[]): void {
  const rules = expressions.map((expr, index) => ({ record: `expression_${index}`, expr }));
  check('rules', { groups: [{ name: 'expressions', rules }] });
}

/**
 * Throws if a scrape configuration is invalid, apart from what discovers pods and the rule files: Debian builds Prometheus
 * without Kubernetes.
 */
export function requireConfig(text: string): void {
  const { rule_files: _, scrape_configs: jobs, ...others } = parse(text);
  check('config', {
    ...others,
    scrape_configs: jobs.map(
      ({ kubernetes_sd_configs: _discovery, ...job }: object & Discovery) => ({
        ...job,
        static_configs: [{ targets: ['127.0.0.1:1'] }],
      }),
    ),
  });
}

interface Discovery {
  kubernetes_sd_configs?: unknown;
}

function check(what: 'rules' | 'config', content: object): void {
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-promtool-'));
  try {
    const file = join(directory, 'checked.yaml');
    writeFileSync(file, stringify(content));
    promtool('check', what, file);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
