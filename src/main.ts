#!/usr/bin/env node
/**
 * The command line: one subcommand per process. Each imports its own part when it runs, so that admin never loads the
 * HTTP server of the hot path, and `--help` loads nothing.
 */
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { StackDescription } from './dev/stack/stack-description.ts';
import { Fault } from './domain/fault.ts';
import { reportFailure, runUntilStopped } from './process/lifecycle.ts';
import type { RehearseChoices } from './rehearse/settings.ts';

const { version } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
) as { version: string };

const program = new Command('flash-sale')
  .description('A flash-sale engine: never oversells, first come, first served.')
  .showHelpAfterError('See --help for the commands and options.')
  // 2 means wrong usage; 1 means that the command itself failed.
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));

program
  .command('hot-path')
  .description("serve the buyers' API on HOT_PATH_PORT with HOT_PATH_WORKERS processes")
  .option('--share-port', 'listen on a port that other processes share')
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
      // uWebSockets.js reads it when it is loaded.
      process.env.UWS_HTTP_MAX_HEADERS_SIZE = String(config.REQUEST_HEAD_BYTES_MAX);
      const { runHotPath } = await import('./hot-path/main.ts');
      return runHotPath({ sharePort });
    });
  });

program
  .command('persister')
  .description('write decisions from Redis to PostgreSQL, end holds, send webhooks, recover sales')
  .action(async () => {
    await runUntilStopped(async () => (await import('./persister/main.ts')).runPersister());
  });

program
  .command('admin')
  .description(
    "serve the operators' and merchants' API, the dashboard and the API documents on ADMIN_PORT",
  )
  .action(async () => {
    await runUntilStopped(async () => (await import('./admin/main.ts')).runAdmin());
  });

program
  .command('migrate')
  .description('apply new migrations to the database, then exit')
  .option('--adopt', 'also make this database the one that belongs to Redis')
  .addHelpText(
    'after',
    '\nRedis stores which database belongs to it; persister and admin refuse to work with another one.\nAfter a backup was restored into another database: stop the processes of the old one, then run migrate --adopt.',
  )
  .action(async ({ adopt = false }: { adopt?: boolean }) => {
    const [{ readServersConfig }, { migrate }] = await Promise.all([
      import('./config.ts'),
      import('./postgres/migrate.ts'),
    ]);
    const config = readServersConfig(process.env);
    const report = (line: string) => console.log(line);
    await migrate(config.DATABASE_URL, report);
    if (adopt) await (await import('./cli/adopt.ts')).adopt(config, report);
  });

program
  .command('stack')
  .description('run the whole engine with its own Redis and PostgreSQL until stopped')
  .option('--fresh', 'delete the data of earlier runs first')
  .addHelpText(
    'after',
    '\nWhen ready, prints one line of JSON and writes it to stack.json in .flash-sale/ (or FLASH_SALE_HOME).\nReads the environment of hot-path, persister and admin, but ignores REDIS_URL and DATABASE_URL.',
  )
  .action(async ({ fresh = false }: { fresh?: boolean }) => {
    const [{ startStack, STACK_CLOSE_DEADLINE_MS }, { dashboardLine }] = await Promise.all([
      import('./dev/stack/stack.ts'),
      import('./dev/stack/dashboard-line.ts'),
    ]);
    await runUntilStopped(
      async (stopping) => {
        const stack = await startStack(
          { fresh, env: process.env, command: 'npm start', report: (line) => console.error(line) },
          stopping,
        );
        console.log(JSON.stringify(stack.description));
        console.error(await dashboardLine(stack.description, stopping));
        return stack;
      },
      { closeDeadlineMs: STACK_CLOSE_DEADLINE_MS },
    );
  });

program
  .command('demo')
  .description('run the stack and a sale with more buyers than units, then check every promise')
  .option('--exit', 'stop after the result; the exit code is 0 only if every promise held')
  .option('--fresh', 'delete the data of earlier runs first')
  .option('--buyers <count>', 'number of buyers (10000; with --storefront 1500)', countFrom(1))
  .option('--units <count>', 'number of units (1000; with --storefront 300)', countFrom(1))
  .option(
    '--checkout',
    'also run a shop that takes payments and confirms or cancels each reservation',
  )
  .addOption(
    new Option(
      '--storefront',
      'also serve a shop front to buy from in a browser, with a checkout, beside a slow crowd',
    ).conflicts('exit'),
  )
  .option(
    '--hold-seconds <count>',
    'length of a hold (with --checkout 20, with --storefront 60)',
    countFrom(1),
  )
  .action(async (options: DemoChoices) => {
    const { exit = false, fresh = false, checkout, storefront } = options;
    if (storefront) {
      const { runStorefrontDemo } = await import('./dev/demo/storefront.ts');
      const { buyers = 1_500, units = 300, holdSeconds = 60 } = options;
      return runStorefrontDemo({ fresh, buyers, units, holdSeconds });
    }
    const { runDemo } = await import('./dev/demo/demo.ts');
    const { buyers = 10_000, units = 1_000, holdSeconds = 20 } = options;
    return runDemo({
      exit,
      fresh,
      buyers,
      units,
      checkout: checkout ? { holdSeconds } : undefined,
    });
  });

interface DemoChoices {
  exit?: boolean;
  fresh?: boolean;
  checkout?: boolean;
  storefront?: boolean;
  buyers?: number;
  units?: number;
  holdSeconds?: number;
}

interface VerifyChoices {
  json?: boolean;
  list?: boolean;
}

program
  .command('verify')
  .description(
    'check every promise in Redis and PostgreSQL; the exit code is 0 when all hold, otherwise 1',
  )
  .argument('[saleId]', 'check only this sale')
  .option('--json', 'print JSON')
  .option('--list', 'print what each check says, and connect to nothing')
  .action(async (sale: string | undefined, { json = false, list = false }: VerifyChoices) => {
    if (list) {
      console.log((await import('./verify/catalogue.ts')).printableCatalogue());
      return;
    }
    await useRunningStack(['REDIS_URL', 'DATABASE_URL'], ({ redisUrl, postgresUrl }) => ({
      REDIS_URL: redisUrl,
      DATABASE_URL: postgresUrl,
    }));
    const { runVerify } = await import('./cli/verify.ts');
    const ok = await runVerify({ ...(sale === undefined ? {} : { sale }), json });
    process.exitCode = ok ? 0 : 1;
  });

interface TraceChoices {
  sale?: string;
  since: string;
  json?: boolean;
}

program
  .command('trace')
  .description(
    'show one request from its decision to its row and its webhooks; the exit code is 1 when nothing is found',
  )
  .argument('<requestId>', 'the X-Request-Id of the response')
  .option('--sale <saleId>', 'search only this sale, which is fast')
  .option('--since <duration>', 'how far back to search, such as 90s, 15m, 24h or 7d', '24h')
  .option('--json', 'print JSON')
  .action(async (requestId: string, { sale, since, json = false }: TraceChoices) => {
    await useRunningStack(['REDIS_URL', 'DATABASE_URL'], ({ redisUrl, postgresUrl }) => ({
      REDIS_URL: redisUrl,
      DATABASE_URL: postgresUrl,
    }));
    const { runTrace } = await import('./cli/trace/trace.ts');
    const options = { ...(sale === undefined ? {} : { sale }), since, json };
    process.exitCode = (await runTrace(requestId, options)) ? 0 : 1;
  });

program
  .command('token')
  .description(
    "print a buyer's token (JWT, HS256), signed with JWT_SECRET or the secret of the running stack",
  )
  .requiredOption('--buyer <id>', 'id of the buyer')
  .option('--expires-in <duration>', 'lifetime, such as 90s, 15m, 1h or 7d', '1h')
  .action(async ({ buyer, expiresIn }: { buyer: string; expiresIn: string }) => {
    await useRunningStack(['JWT_SECRET'], ({ jwtSecret }) => ({ JWT_SECRET: jwtSecret }));
    const { buyerToken } = await import('./cli/token.ts');
    console.log(buyerToken(buyer, { expiresIn, env: process.env }));
  });

program
  .command('rehearse')
  .description(
    'try out a deployed system with a synthetic crowd on a sale of its own; the exit code is 0 when it is ready, otherwise 1',
  )
  .option(
    '--hot-path-url <url...>',
    "address of the buyers' API, or several; default: the running stack",
  )
  .option('--admin-url <url>', 'address of admin; default: the running stack')
  .option('--buyers <count>', 'buyers in the expected crowd', countFrom(1), 10_000)
  .option('--units <count>', 'units that it buys', countFrom(1), 1_000)
  .option('--seconds <count>', 'time in which all of them must have a response', countFrom(1), 10)
  .option(
    '--load-seconds <count>',
    'length of each of the two loads, at most 60',
    countFrom(1, 60),
    5,
  )
  .option('--p99-ms <count>', 'time in which 99 of 100 buyers must have it', countFrom(1), 250)
  .option('--origin <origin>', "of a page that must be able to call the buyers' API")
  .option('--tokens <file>', "buyers' tokens, one a line, if only the shop can sign them")
  .option('--clean', 'only remove what killed rehearsals left')
  .option('--json', 'print the result as JSON')
  .addHelpText(
    'after',
    `
Secrets come from the environment: ADMIN_TOKENS=operator:<token>, and JWT_SECRET to sign tokens of synthetic buyers.
Buyers have ids that begin with rehearsal-; those of --tokens must too.

It creates a sale whose id begins with rehearsal-, which sells to no one else, sends no webhooks, and is removed at the end,
also after Ctrl-C. It sends at most 1.5 times the load of the expected crowd, for --load-seconds twice, from this machine.
Do not run it while a sale is open: it takes capacity from its buyers.
The exit code is 0 when the system is ready, 1 when it is not, and 2 when the command was used wrongly.`,
  )
  .action(async (options: RehearseChoices) => {
    // Removing the sale may wait for servers that restart.
    await runUntilStopped(
      async (stopping) => {
        process.exitCode = INTERRUPTED;
        process.exitCode = await rehearseOn(options, stopping);
        return { close: async () => undefined };
      },
      { stayUp: false, closeDeadlineMs: REHEARSAL_CLOSE_MS_MAX },
    );
  });

/** What a shell shows for a command that Ctrl-C ended. */
const INTERRUPTED = 130;
const REHEARSAL_CLOSE_MS_MAX = 30_000;

async function rehearseOn(options: RehearseChoices, stopping: AbortSignal): Promise<number> {
  try {
    // A deployed system needs its own secrets: those of the private stack would only be refused.
    const isElsewhere = options.hotPathUrl !== undefined || options.adminUrl !== undefined;
    const stack = isElsewhere ? undefined : await readRunningStack();
    if (stack) {
      process.env.ADMIN_TOKENS ??= `operator:${stack.adminToken}`;
      process.env.JWT_SECRET ??= stack.jwtSecret;
    }
    const { runRehearse } = await import('./cli/rehearse.ts');
    return await runRehearse(options, stack, stopping);
  } catch (error) {
    if (!(error instanceof Fault && error.code === 'config_invalid')) throw error;
    reportFailure(error);
    return 2;
  }
}

/** Points a command at the running private stack, unless one of these variables is set. */
async function useRunningStack(
  unlessSet: readonly string[],
  variablesOf: (stack: StackDescription) => Record<string, string>,
): Promise<void> {
  if (unlessSet.some((name) => process.env[name])) return;
  const stack = await readRunningStack();
  if (stack) Object.assign(process.env, variablesOf(stack));
}

async function readRunningStack(): Promise<StackDescription | undefined> {
  const [{ locateHome }, { readStackDescription }] = await Promise.all([
    import('./dev/stack/home.ts'),
    import('./dev/stack/stack-description.ts'),
  ]);
  return readStackDescription(locateHome(process.env));
}

function countFrom(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const bounds =
    most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return (text) => {
    const count = Number(text);
    if (Number.isSafeInteger(count) && count >= least && count <= most) return count;
    throw new InvalidArgumentError(`It must be a whole number ${bounds}.`);
  };
}

for (const command of [program, ...program.commands]) command.version(version);

try {
  await program.parseAsync();
} catch (error) {
  reportFailure(error);
  process.exitCode = 1;
}
