/**
 * Shows that the checker can fail: `npm run chaos:variants`. Runs the scenario of every variant on the broken engine,
 * where its mistake must be found, and on the whole one, where nothing may be. Takes a part of a name to run fewer.
 */
import { startPostgres } from '../test/support/servers.ts';
import { runBroken, runWhole } from './run-variant.ts';
import { VARIANTS } from './variants.ts';
import { openWorkplace } from './workplace.ts';

const [part = ''] = process.argv.slice(2);
const chosen = VARIANTS.filter(({ name }) => name.includes(part));
if (chosen.length === 0) {
  console.error(`No variant has "${part}" in its name. There are:`);
  for (const { name } of VARIANTS) console.error(`  ${name}`);
  process.exit(1);
}
const { stopping, logsOf, forgetLogsOf } = openWorkplace();
const postgres = await startPostgres();
let failures = 0;
try {
  for (const variant of chosen) {
    if (stopping.aborted) break;
    const run = variant.name.replaceAll(' ', '-');
    const directory = logsOf(run);
    const broken = await runBroken(variant, { postgres, directory });
    const found = [...new Set(broken.violations.map(({ kind }) => kind))];
    const whole = await runWhole(variant, { postgres, directory });
    const isOk = found.includes(variant.expected) && whole.violations.length === 0;
    if (isOk) forgetLogsOf(run);
    else failures += 1;
    console.log(
      `${isOk ? 'ok    ' : 'FAILED'}  ${variant.name}: ${found.join(', ') || 'nothing found'}`,
    );
    if (!isOk) console.log(`        logs: ${directory}`);
    for (const { kind, evidence } of whole.violations.slice(0, 5)) {
      console.log(`        without the mistake: ${kind}: ${evidence}`);
    }
  }
} finally {
  await postgres.stop();
}
process.exit(failures === 0 ? 0 : 1);
