/**
 * `npm run check:alerts`: promtool parses the rules, the scrape configurations and every expression of the dashboard, and
 * runs the tests of the rules.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../harness/command/command-line.ts';
import { expressions } from './dashboard-panels.ts';
import { promtool, requireConfig, requirePromQl } from './promtool.ts';
import { RULE_FILES, RULES_DIRECTORY } from './rules.ts';

command(
  'check:alerts',
  'Check the rules, the scrape configurations and the dashboard of deploy/observability with promtool.',
).parse();

const file = (name: string) => join(RULES_DIRECTORY, name);
try {
  console.log(promtool('check', 'config', file('prometheus.yaml')).trim());
  requireConfig(readFileSync(file('prometheus.kubernetes.yaml'), 'utf8'));
  console.log('prometheus.kubernetes.yaml: valid, except for the discovery of pods');
  console.log(promtool('check', 'rules', ...RULE_FILES.map(file)).trim());
  console.log(promtool('test', 'rules', file('alerts.test.yaml')).trim());
  requirePromQl(expressions());
  console.log(`${expressions().length} expressions of the dashboard: parsed`);
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
