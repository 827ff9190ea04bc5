/**
 * How cost grows: `npm run bench:growth`. Each scenario measures points along one line: open connections, units, sales,
 * SKUs, the size of a batch, hot paths. `rush` compares the model in sizing/rush.ts with a real rush.
 */
import { batchSize } from './growth/batch-size.ts';
import { connections } from './growth/connections.ts';
import { hotPaths } from './growth/hot-paths.ts';
import { rush } from './growth/rush.ts';
import { sales, skus } from './growth/sales.ts';
import { stock } from './growth/stock.ts';
import { type BenchArguments, benchCommand, runScenarios } from './measure/run-scenarios.ts';
import { publish } from './report/publish.ts';

const SCENARIOS = [connections, stock, sales, skus, batchSize, hotPaths, rush];

const options = benchCommand('bench:growth', 'Measures how cost grows with load and size.', {
  scenarios: SCENARIOS,
  rounds: 3,
  seconds: 2,
})
  .option('--write', 'record the results, and update the tables of the documents')
  .parse()
  .opts<BenchArguments>();
await publish('growth.json', await runScenarios(SCENARIOS, options), options);
