/**
 * The bench: `npm run bench`. Compares the engine with what bounds it and with conventional designs. The contestants of
 * a scenario take turns in one run, because figures of two runs are not comparable.
 */
import { type BenchArguments, benchCommand, runScenarios } from './measure/run-scenarios.ts';
import { publish } from './report/publish.ts';
import { durable } from './scenarios/durable.ts';
import { failures } from './scenarios/failures.ts';
import { lag } from './scenarios/lag.ts';
import { memory } from './scenarios/memory.ts';
import { persister } from './scenarios/persister.ts';
import { reach } from './scenarios/reach.ts';
import { crowd, refusal, refusalCold } from './scenarios/refusal.ts';
import { refusalTime } from './scenarios/refusal-time.ts';
import { timeline } from './scenarios/timeline.ts';
import { connect, win, winCold, winFast } from './scenarios/win.ts';

const SCENARIOS = [
  reach,
  refusal,
  refusalCold,
  crowd,
  win,
  winFast,
  winCold,
  connect,
  durable,
  refusalTime,
  persister,
  lag,
  memory,
  failures,
  timeline,
];

const options = benchCommand(
  'bench',
  'Compares the engine with what bounds it and with conventional designs. Exits 1 when a target is missed.',
  { scenarios: SCENARIOS, rounds: 7, seconds: 2 },
)
  .option('--write', 'record the results, and update the tables of the documents')
  .parse()
  .opts<BenchArguments>();
await publish('throughput.json', await runScenarios(SCENARIOS, options), options);
