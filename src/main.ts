#!/usr/bin/env node
/**
 * The command line: one subcommand a process. Each imports only its own part, so that admin never loads the HTTP
 * server of the hot path, and `--help` loads nothing at all.
 */
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import type { StackDescription } from './dev/stack/stack-description.ts';
import { reportFailure, runUntilStopped } from './process/lifecycle.ts';

const { version } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
) as { version: string };

const program = new Command('flash-sale')
  .description('Sells exactly what there is, first come first served.')
  .showHelpAfterError('Add --help to see what it takes.')
  // What was mistyped is 2, so that 1 is always what a command found or met.
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));

program
  .command('hot-path')
  .description('serve the buyers on HOT_PATH_PORT, by HOT_PATH_WORKERS processes')
  .option('--share-port', 'be one of several that listen on the same port')
  .action(async ({ sharePort = false }: { sharePort?: boolean }) => {
    await runUntilStopped(async () => {
      const { readHotPathConfig } = await import('./config.ts');
      const config = readHotPathConfig(process.env);
      if (config.HOT_PATH_WORKERS > 1 && !sharePort) {
        const { startHotPathWorkers } = await import('./process/supervisor/hot-path-workers.ts');
        return startHotPathWorkers(
          { workers: config.HOT_PATH_WORKERS, host: config.HOST, port: config.HOT_PATH_PORT },
          process.env,
        );
      }
      const { runHotPath } = await import('./hot-path/main.ts');
      return runHotPath({ sharePort });
    });
  });

program
  .command('persister')
  .description('write what Redis decided to PostgreSQL, expire holds, recover sales')
  .action(async () => {
    await runUntilStopped(async () => (await import('./persister/main.ts')).runPersister());
  });

program
  .command('admin')
  .description(
    'serve operators and merchants on ADMIN_PORT: sales, stock, queries, both APIs described',
  )
  .action(async () => {
    await runUntilStopped(async () => (await import('./admin/main.ts')).runAdmin());
  });

program
  .command('migrate')
  .description("bring the database's schema up to date, then exit")
  .action(async () => {
    const [{ readServersConfig }, { migrate }] = await Promise.all([
      import('./config.ts'),
      import('./postgres/migrate.ts'),
    ]);
    await migrate(readServersConfig(process.env).DATABASE_URL, (line) => console.log(line));
  });

program
  .command('stack')
  .description('run everything, with a Redis and a PostgreSQL of its own, until stopped')
  .option('--fresh', 'throw away the data of earlier runs first')
  .addHelpText(
    'after',
    '\nPrints one line of JSON when all is ready, the same as stack.json in .flash-sale/ (or FLASH_SALE_HOME).\nTakes the environment of hot-path, persister and admin; REDIS_URL and DATABASE_URL are its own.',
  )
  .action(async ({ fresh = false }: { fresh?: boolean }) => {
    const { startStack, STACK_CLOSE_DEADLINE_MS } = await import('./dev/stack/stack.ts');
    await runUntilStopped(
      async (stopping) => {
        const stack = await startStack(
          { fresh, env: process.env, command: 'npm start', tell: (line) => console.error(line) },
          stopping,
        );
        console.log(JSON.stringify(stack.description));
        return stack;
      },
      { closeDeadlineMs: STACK_CLOSE_DEADLINE_MS },
    );
  });

program
  .command('demo')
  .description('run the stack and a sale with far more buyers than units, then check every promise')
  .option('--exit', 'stop after the result; 0 only if every promise held')
  .option('--fresh', 'throw away the data of earlier runs first')
  .option('--buyers <count>', 'how many press buy', countFrom(1), 10_000)
  .option('--units <count>', 'how many units there are', countFrom(1), 1_000)
  .option('--checkout', 'take the payments, too: a shop of its own confirms or cancels each')
  .option('--hold-seconds <count>', 'with --checkout: how long a hold lasts', countFrom(1), 20)
  .action(async (options: DemoChoices) => {
    const { runDemo } = await import('./dev/demo/demo.ts');
    await runDemo({
      exit: options.exit ?? false,
      fresh: options.fresh ?? false,
      buyers: options.buyers,
      units: options.units,
      checkout: options.checkout ? { holdSeconds: options.holdSeconds } : undefined,
    });
  });

interface DemoChoices {
  exit?: boolean;
  fresh?: boolean;
  checkout?: boolean;
  buyers: number;
  units: number;
  holdSeconds: number;
}

program
  .command('verify')
  .description('check the promises over Redis and PostgreSQL; exits 0 when all hold, else 1')
  .argument('[saleId]', 'one sale; all of them when missing')
  .option('--json', 'print JSON')
  .action(async (sale: string | undefined, { json = false }: { json?: boolean }) => {
    await useRunningStack(['REDIS_URL', 'DATABASE_URL'], ({ redisUrl, postgresUrl }) => ({
      REDIS_URL: redisUrl,
      DATABASE_URL: postgresUrl,
    }));
    const { runVerify } = await import('./cli/verify.ts');
    const ok = await runVerify({ ...(sale === undefined ? {} : { sale }), json });
    process.exitCode = ok ? 0 : 1;
  });

program
  .command('token')
  .description("print a buyer's token (JWT, HS256), signed with JWT_SECRET or the running stack's")
  .requiredOption('--buyer <id>', 'whose')
  .option('--expires-in <duration>', '90s, 15m, 1h, 7d', '1h')
  .action(async ({ buyer, expiresIn }: { buyer: string; expiresIn: string }) => {
    await useRunningStack(['JWT_SECRET'], ({ jwtSecret }) => ({ JWT_SECRET: jwtSecret }));
    const { buyerToken } = await import('./cli/token.ts');
    console.log(buyerToken(buyer, { expiresIn, env: process.env }));
  });

/** Unless one of these variables says otherwise, a command is about the stack that runs here, if one does. */
async function useRunningStack(
  unlessSet: readonly string[],
  variablesOf: (stack: StackDescription) => Record<string, string>,
): Promise<void> {
  if (unlessSet.some((name) => process.env[name])) return;
  const [{ locateHome }, { readStackDescription }] = await Promise.all([
    import('./dev/stack/home.ts'),
    import('./dev/stack/stack-description.ts'),
  ]);
  const stack = readStackDescription(locateHome(process.env));
  if (stack) Object.assign(process.env, variablesOf(stack));
}

function countFrom(least: number): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (Number.isSafeInteger(count) && count >= least) return count;
    throw new InvalidArgumentError(`Give a whole number from ${least} on.`);
  };
}

for (const command of [program, ...program.commands]) command.version(version);

try {
  await program.parseAsync();
} catch (error) {
  reportFailure(error);
  process.exitCode = 1;
}
