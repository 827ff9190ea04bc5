/** The command `flash-sale rehearse`: reads its settings, runs the rehearsal, and prints the verdict. */
import { cleanUp, type Rehearsal, rehearse } from '../rehearse/rehearse.ts';
import { type RehearseChoices, readSettings } from '../rehearse/settings.ts';

/**
 * Returns the exit code: 0 ready, 1 not ready. Progress goes to standard error, so that standard output has the result
 * alone. Throws `config_invalid`.
 */
export async function runRehearse(
  choices: RehearseChoices,
  stack: { hotPathUrl: string; adminUrl: string } | undefined,
  stopping: AbortSignal,
): Promise<number> {
  const settings = readSettings(choices, process.env, stack);
  const report = (line: string) => console.error(line);
  if (choices.clean) return (await cleanUp(settings, stopping, report)) === 0 ? 0 : 1;
  const result = await rehearse(settings, stopping, report);
  console.log(choices.json ? JSON.stringify(result, null, 2) : `\n${verdictOf(result, choices)}`);
  return result.ready ? 0 : 1;
}

function verdictOf({ ready, findings }: Rehearsal, choices: RehearseChoices): string {
  const { buyers, units, seconds } = choices;
  const crowd = `${buyers} buyers and ${units} units in ${seconds} s`;
  const warnings = findings.filter(({ verdict }) => verdict === 'warning').length;
  if (ready)
    return `READY for ${crowd}.${warnings === 0 ? '' : ` Warnings: ${warnings}, see above.`}`;
  const failed = findings.filter(({ verdict }) => verdict === 'failed');
  const reasons = failed.map(({ check, found }) => `  ${check}: ${found}`);
  return [`NOT READY for ${crowd}:`, ...reasons].join('\n');
}
