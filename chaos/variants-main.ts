/**
 * Shows that the checker can fail: `npm run chaos:variants`. Runs the scenario of every variant on the broken engine,
 * where its mistake must be found, and on the whole one, where nothing may be. Takes a part of a name to run fewer.
 */
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { startPostgres } from '../harness/servers/postgres.ts';
import { openRunLogs } from './run-logs.ts';
import { runBroken, runIntact } from './variants/run-variant.ts';
import { VARIANTS } from './variants/variants.ts';

const [part = ''] = command('chaos:variants', 'Engines with one mistake each, which must be found.')
  .argument('[part]', 'of a name, to run fewer')
  .parse().args;
const chosen = VARIANTS.filter(({ name }) => name.includes(part));
if (chosen.length === 0) {
  console.error(`No variant has "${part}" in its name. There are:`);
  for (const { name } of VARIANTS) console.error(`  ${name}`);
  process.exit(2);
}
const { logsOf, forgetLogsOf } = openRunLogs();
const { stopping, after, close } = openCommandSession();
const postgres = await startPostgres();
after(() => postgres.stop());
let failures = 0;
try {
  const all = runOneAfterTheOther();
  after(() => Promise.allSettled([all]));
  await all;
} finally {
  await close();
}
process.exit(failures === 0 ? 0 : 1);

async function runOneAfterTheOther(): Promise<void> {
  for (const variant of chosen) {
    const run = variant.name.replaceAll(' ', '-');
    const directory = logsOf(run);
    const choices = { postgres, directory, stopping };
    let isOk = false;
    try {
      const broken = await runBroken(variant, choices);
      const found = [...new Set(broken.violations.map(({ kind }) => kind))];
      const whole = await runIntact(variant, choices);
      isOk = found.includes(variant.expected) && whole.violations.length === 0;
      console.log(
        `${isOk ? 'ok    ' : 'FAILED'}  ${variant.name}: ${found.join(', ') || 'nothing found'}`,
      );
      if (!isOk) console.log(`        logs: ${directory}`);
      for (const { kind, evidence } of whole.violations.slice(0, 5)) {
        console.log(`        without the mistake: ${kind}: ${evidence}`);
      }
    } finally {
      if (isOk || stopping.aborted) forgetLogsOf(run);
    }
    if (!isOk) failures += 1;
  }
}
