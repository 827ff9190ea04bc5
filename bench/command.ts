/** The command line of benches and of the chaos suite: who mistypes is told so in one line, with exit code 2. */
import { Command, InvalidArgumentError } from 'commander';

export function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .showSuggestionAfterError(false)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('Give a whole number from 1 on.');
  return value;
}
