/**
 * The bench: `npm run bench`. Compares the engine with what bounds it and with what one would build instead, each
 * scenario by contestants that take turns in one run, because figures of two runs are not comparable.
 *
 * Exits 1 when a bar is missed, or when what was measured is not what was meant.
 */
import { command, onlyOption, wholeNumber } from '../harness/command/command-line.ts';
import { writePlots } from './plots.ts';
import { keep, keepAside, RESULTS, readResults } from './results.ts';
import { runScenarios } from './run-scenarios.ts';
import { durable } from './scenarios/durable.ts';
import { fires } from './scenarios/fires.ts';
import { lag } from './scenarios/lag.ts';
import { memory } from './scenarios/memory.ts';
import { persister } from './scenarios/persister.ts';
import { reach } from './scenarios/reach.ts';
import { crowd, refusal } from './scenarios/refusal.ts';
import { refusalTime } from './scenarios/refusal-time.ts';
import { timeline } from './scenarios/timeline.ts';
import { win, winCold, winFast } from './scenarios/win.ts';
import { writeSizing } from './sizing-document.ts';
import {
  barTable,
  comparisonTable,
  conditionLines,
  figureTable,
  figureTables,
  putBetweenMarkers,
} from './tables.ts';

const SCENARIOS = [
  reach,
  refusal,
  crowd,
  win,
  winFast,
  winCold,
  durable,
  refusalTime,
  persister,
  lag,
  memory,
  fires,
  timeline,
];
const FILE = 'throughput.json';

const program = command('bench', 'Compares the engine with what bounds it and with what is usual.')
  .option('--rounds <count>', 'how often each contestant is measured', wholeNumber, 7)
  .option('--seconds <count>', 'of load, each time', wholeNumber, 2)
  .addOption(onlyOption(SCENARIOS))
  .option('--write', 'keep the results in bench/results, and the tables in the documents')
  .parse();
const options = program.opts<{ rounds: number; seconds: number; only?: string[]; write?: true }>();

const { results, failures } = await runScenarios(SCENARIOS, options);
for (const each of results) {
  if (Object.keys(each.figures).length > 0) {
    console.log(`\n${each.title}\n\n${figureTable(each)}`);
  }
}
console.log(`\n${comparisonTable(results)}\n\n${conditionLines(results)}\n`);
if (options.write) {
  await keep(FILE, results);
  const all = readResults(FILE);
  await writePlots(results, RESULTS);
  const text = `${comparisonTable(all)}\n\n${conditionLines(all)}`;
  await putBetweenMarkers('docs/PERFORMANCE.md', 'bench', text);
  await putBetweenMarkers('docs/PERFORMANCE.md', 'bench figures', figureTables(all));
  await putBetweenMarkers('README.md', 'bench', barTable(all));
  await writeSizing();
} else {
  const directory = await keepAside(FILE, results);
  await writePlots(results, directory);
  console.log(`Nothing was kept; results and plots are in ${directory}`);
}
for (const failure of failures) console.error(`without a result: ${failure}`);
const isMissed = results.some(({ comparisons }) => comparisons.some(({ ok }) => ok === false));
process.exit(isMissed || failures.length > 0 ? 1 : 0);
