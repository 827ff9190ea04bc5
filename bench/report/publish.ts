/**
 * What happens with the results of a run: it prints, records and plots them, and updates README.md and
 * docs/PERFORMANCE.md.
 */
import { putBetweenMarkers } from '../../harness/command/documents.ts';
import type { Found } from '../measure/run-scenarios.ts';
import { costsOf, rushText, sizingText } from '../sizing/sizing.ts';
import { writePlots } from './plots.ts';
import { readResults, record, type ScenarioResult } from './results.ts';
import {
  comparisonTable,
  conditionLines,
  figureTable,
  figureTables,
  summaryTable,
} from './tables.ts';

const PERFORMANCE = 'docs/PERFORMANCE.md';

/** Ends the process, with 1 when a target was missed or a scenario has no result. */
export async function publish(
  file: string,
  { results, failures }: Found,
  options: { write?: boolean },
): Promise<never> {
  for (const each of results) {
    if (Object.keys(each.figures).length > 0) {
      console.log(`\n${each.title}\n\n${figureTable(each)}`);
    }
  }
  console.log(`\n${comparisons(results)}\n`);
  const directory = await record(file, results, options);
  await writePlots(results, directory);
  if (options.write) await writeDocuments();
  console.log(`Results and plots are in ${directory}`);
  for (const failure of failures) console.error(`no result: ${failure}`);
  const isMissed = results.some((each) => each.comparisons.some(({ ok }) => ok === false));
  process.exit(isMissed || failures.length > 0 ? 1 : 0);
}

/** Leaves the sizing tables as they are while a scenario that they need has no result. */
async function writeDocuments(): Promise<void> {
  const throughput = readResults('throughput.json');
  const growth = readResults('growth.json');
  await putBetweenMarkers('README.md', 'bench', summaryTable(throughput));
  await putBetweenMarkers(PERFORMANCE, 'bench', comparisons(throughput));
  await putBetweenMarkers(PERFORMANCE, 'bench figures', figureTables(throughput));
  await putBetweenMarkers(
    PERFORMANCE,
    'growth',
    [comparisons(growth), ...growth.map(growthSection)].join('\n\n'),
  );
  const found = costsOf({ throughput, growth });
  if ('missing' in found) {
    console.log(`No sizing without ${found.missing.join(', ')}: npm run bench, bench:growth`);
    return;
  }
  await putBetweenMarkers(PERFORMANCE, 'sizing', sizingText(found.costs));
  await putBetweenMarkers(PERFORMANCE, 'simulated rush', rushText(found.costs));
}

function comparisons(results: readonly ScenarioResult[]): string {
  return `${comparisonTable(results)}\n\n${conditionLines(results)}`;
}

function growthSection(result: ScenarioResult): string {
  const { name, title, growth } = result;
  const plot = growth ? `\n\n![${title}](../bench/results/growth-${name}.svg)` : '';
  return `### ${title}\n\n${figureTable(result)}${plot}`;
}
