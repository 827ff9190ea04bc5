/**
 * Shows that the checker can fail: `npm run chaos:variants`. Runs the scenario of every variant on the broken engine,
 * where its mistake must be found, and on the whole one, where nothing may be. Takes a part of a name to run fewer.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '../test/support/servers.ts';
import { runBroken, runWhole } from './run-variant.ts';
import { VARIANTS } from './variants.ts';

const [part = ''] = process.argv.slice(2);
const logs = mkdtempSync(join(tmpdir(), 'flash-sale-variants-'));
const postgres = await startPostgres();
let failures = 0;
try {
  for (const variant of VARIANTS.filter(({ name }) => name.includes(part))) {
    const directory = join(logs, variant.mistake.file.replaceAll('/', '-'));
    const broken = await runBroken(variant, { postgres, directory });
    const found = [...new Set(broken.violations.map(({ kind }) => kind))];
    const whole = await runWhole(variant, { postgres, directory });
    const isOk = found.includes(variant.expected) && whole.violations.length === 0;
    failures += isOk ? 0 : 1;
    console.log(
      `${isOk ? 'ok    ' : 'FAILED'}  ${variant.name}: ${found.join(', ') || 'nothing found'}`,
    );
    for (const { kind, evidence } of whole.violations.slice(0, 5)) {
      console.log(`        without the mistake: ${kind}: ${evidence}`);
    }
  }
} finally {
  await postgres.stop();
  if (failures === 0) rmSync(logs, { recursive: true, force: true });
  else console.log(`logs: ${logs}`);
}
process.exit(failures === 0 ? 0 : 1);
