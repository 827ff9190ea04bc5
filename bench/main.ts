/**
 * The bench: `npm run bench`. Compares the engine with what bounds it and with what one would build instead, each
 * scenario by contestants that take turns in one run, because figures of two runs are not comparable.
 *
 * Exits 1 when a bar is missed, or when what was measured is not what was meant.
 */
import { Command } from 'commander';
import { wholeNumber } from './options.ts';
import { keep, keepAside } from './results.ts';
import { runScenarios } from './run-scenarios.ts';
import { refusal } from './scenarios/refusal.ts';
import { win, winCold, winFast } from './scenarios/win.ts';
import { comparisonTable, conditionLines, figureTable, putBetweenMarkers } from './tables.ts';

const SCENARIOS = [refusal, win, winFast, winCold];
const FILE = 'throughput.json';

const program = new Command('bench')
  .description('Compares the engine with what bounds it and with what is usual.')
  .option('--rounds <count>', 'how often each contestant is measured', wholeNumber, 7)
  .option('--seconds <count>', 'of load, each time', wholeNumber, 2)
  .option('--only <scenario...>', `of ${SCENARIOS.map(({ name }) => name).join(', ')}`)
  .option('--write', 'keep the results in bench/results, and the tables in the documents')
  .parse();
const options = program.opts<{ rounds: number; seconds: number; only?: string[]; write?: true }>();

const found = await runScenarios(SCENARIOS, options);
for (const each of found) console.log(`\n${each.title}\n\n${figureTable(each)}`);
console.log(`\n${comparisonTable(found)}\n\n${conditionLines(found)}\n`);
if (options.write) {
  console.log(`kept in ${await keep(FILE, found)}`);
  await putBetweenMarkers('docs/PERFORMANCE.md', 'bench', comparisonTable(found));
} else {
  console.log(`not kept, but to be seen in ${await keepAside(FILE, found)}`);
}
const isMissed = found.some(({ comparisons }) => comparisons.some(({ ok }) => ok === false));
process.exit(isMissed ? 1 : 0);
