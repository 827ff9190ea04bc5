/**
 * How cost grows: `npm run bench:growth`. As `npm run bench`, but what is compared are points along one line each: open
 * connections, units, sales, SKUs, the size of a batch, front ends. `rush` holds the model in rush.ts against a rush.
 *
 * Exits 1 when what was measured is not what was meant.
 */
import { command, onlyOption, wholeNumber } from '../harness/command/command-line.ts';
import { batchSize } from './growth/batch-size.ts';
import { connections } from './growth/connections.ts';
import { frontEnds } from './growth/front-ends.ts';
import { rush } from './growth/rush.ts';
import { sales, skus } from './growth/sales.ts';
import { stock } from './growth/stock.ts';
import { writePlots } from './plots.ts';
import { keep, keepAside, RESULTS, readResults, type ScenarioResult } from './results.ts';
import { runScenarios } from './run-scenarios.ts';
import { writeSizing } from './sizing-document.ts';
import { comparisonTable, conditionLines, figureTable, putBetweenMarkers } from './tables.ts';

const SCENARIOS = [connections, stock, sales, skus, batchSize, frontEnds, rush];
const FILE = 'growth.json';
const DOCUMENT = 'docs/PERFORMANCE.md';

const options = command('bench:growth', 'Measures how cost grows with what there is more of.')
  .option('--rounds <count>', 'how often each point is measured', wholeNumber, 3)
  .option('--seconds <count>', 'of load, each time', wholeNumber, 2)
  .addOption(onlyOption(SCENARIOS))
  .option('--write', 'keep the results in bench/results, and the tables in the documents')
  .parse()
  .opts<{ rounds: number; seconds: number; only?: string[]; write?: true }>();

const { results, failures } = await runScenarios(SCENARIOS, options);
for (const each of results) console.log(`\n${each.title}\n\n${figureTable(each)}`);
console.log(`\n${comparisonTable(results)}\n\n${conditionLines(results)}\n`);
if (options.write) {
  await keep(FILE, results);
  await writePlots(results, RESULTS);
  const all = readResults(FILE);
  const text = [comparisonTable(all), conditionLines(all), ...all.map(section)].join('\n\n');
  await putBetweenMarkers(DOCUMENT, 'growth', text);
  await writeSizing();
} else {
  const directory = await keepAside(FILE, results);
  await writePlots(results, directory);
  console.log(`Nothing was kept; results and plots are in ${directory}`);
}
for (const failure of failures) console.error(`without a result: ${failure}`);
process.exit(failures.length > 0 ? 1 : 0);

function section(result: ScenarioResult): string {
  const { name, title, growth } = result;
  const plot = growth ? `\n\n![${title}](../bench/results/growth-${name}.svg)` : '';
  return `### ${title}\n\n${figureTable(result)}${plot}`;
}
