/** The command lines of benches and the chaos suite. A mistyped option prints a suggestion and exits with 2. */
import { Command, InvalidArgumentError, Option } from 'commander';

export function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
}

/** `--only`, of scenarios by name. */
export function onlyOption(scenarios: readonly { name: string }[]): Option {
  const names = scenarios.map(({ name }) => name);
  return new Option('--only <scenario...>', 'to run fewer').choices(names);
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('Give a whole number from 1 on.');
  return value;
}
