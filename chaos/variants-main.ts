/**
 * Shows that the checker can fail: `npm run chaos:variants`. Runs the scenario of each variant on the broken engine
 * and on the intact one. The checker must find the mistake in the first, and nothing in the second.
 */
import { command } from '../harness/command/command-line.ts';
import { openCommandSession } from '../harness/command/command-session.ts';
import { usePostgres } from '../harness/servers/postgres.ts';
import { openRunLogs } from './run.ts';
import { runBroken, runIntact } from './variants/run-variant.ts';
import { VARIANTS } from './variants/variants.ts';

const [part = ''] = command(
  'chaos:variants',
  'Runs engines with one mistake each. Exits 1 when the checker misses one.',
)
  .argument('[part]', 'of a name; runs only these variants')
  .parse().args;
const chosen = VARIANTS.filter(({ name }) => name.includes(part));
if (chosen.length === 0) {
  console.error(`No variant matches "${part}". The variants are:`);
  for (const { name } of VARIANTS) console.error(`  ${name}`);
  process.exit(2);
}
const { logsOf, forgetLogsOf } = openRunLogs();
const session = openCommandSession();
const { stopping } = session;
const postgres = await usePostgres(session);
let failures = 0;
try {
  const all = runInSequence();
  session.after(() => Promise.allSettled([all]));
  await all;
} finally {
  await session.close();
}
process.exit(failures === 0 ? 0 : 1);

async function runInSequence(): Promise<void> {
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
        `${isOk ? 'ok    ' : 'FAILED'}  ${variant.name}: ${found.join(', ') || 'no violation'}`,
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
