/** The connection pool to PostgreSQL and the JavaScript types of its rows. */
import { isIP } from 'node:net';
import postgres from 'postgres';
import { Fault } from '../domain/fault.ts';

export type Sql = postgres.Sql<{ bigint: number }>;
export type Transaction = postgres.TransactionSql<{ bigint: number }>;

/** `bigint` columns are numbers: all values are far below 2^53, and a larger one throws. */
const bigint = {
  to: 20,
  from: [20],
  serialize: (value: number) => String(value),
  parse: (text: string) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} does not fit a number`);
    return value;
  },
};

/**
 * Makes `sslmode=verify-full` check the server's identity when the URL has an IP address. postgres.js passes Node a name
 * to expect only for host names; Node then expects `localhost`, so any certificate for that would pass.
 */
export function verifiedAddress(url: string): { ssl?: { host: string } } {
  const { hostname, searchParams } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const isVerified = searchParams.get('sslmode')?.startsWith('verify-');
  return isVerified && isIP(host) !== 0 ? { ssl: { host } } : {};
}

/** Every session of this engine has it, so that another process can find and end it, see sale-locks.ts. */
export const APPLICATION_PREFIX = 'flash-sale-';
const IDLE_IN_TRANSACTION_MS_MAX = 10_000;

export function connectPostgres(
  url: string,
  options: { process: string; connectionsMax: number },
): Sql {
  return postgres(url, {
    ...verifiedAddress(url),
    max: options.connectionsMax,
    idle_timeout: 60,
    connect_timeout: 5,
    // The default waits up to 20 s between attempts of the whole pool, long after the server is available again.
    backoff: (tries) => Math.min(2, 0.05 * 2 ** tries),
    connection: {
      application_name: APPLICATION_PREFIX + options.process,
      // Otherwise a process that is frozen inside a transaction would keep its locks and block every recovery.
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS_MAX,
    },
    types: { bigint },
    transform: { ...postgres.camel, undefined: null },
    onnotice: () => undefined,
  });
}

/** For the command line: throws `server_unfit`, with what to do, if PostgreSQL is not available. */
export async function requirePostgres(
  sql: postgres.Sql<Record<string, never>> | Sql,
): Promise<void> {
  try {
    await sql`SELECT 1`;
  } catch (error) {
    const detail = `PostgreSQL cannot be used: ${(error as Error).message}\nIs it running, and is DATABASE_URL right? \`npm start\` runs one of its own.`;
    throw new Fault('server_unfit', detail, { cause: error });
  }
}
