/** The connection pool to PostgreSQL, with what its rows look like here. */
import { isIP } from 'node:net';
import postgres from 'postgres';
import { Fault } from '../domain/fault.ts';

export type Sql = postgres.Sql<{ bigint: number }>;
export type Transaction = postgres.TransactionSql<{ bigint: number }>;

/** `bigint` columns come as numbers: none of ours comes near 2^53, and a value that did would throw. */
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
 * Makes `sslmode=verify-full` check the name of a server that is given by its address. postgres.js tells Node to expect
 * a name only where it has one, and Node would then expect `localhost`: anybody with a certificate for that would do.
 */
export function verifiedAddress(url: string): { ssl?: { host: string } } {
  const { hostname, searchParams } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const isVerified = searchParams.get('sslmode')?.startsWith('verify-');
  return isVerified && isIP(host) !== 0 ? { ssl: { host } } : {};
}

const IDLE_IN_TRANSACTION_MS_MAX = 10_000;

export function connectPostgres(
  url: string,
  options: { name: string; connectionsMax: number },
): Sql {
  return postgres(url, {
    ...verifiedAddress(url),
    max: options.connectionsMax,
    idle_timeout: 60,
    connect_timeout: 5,
    // By default it waits up to 20 s between tries, counted over the whole pool: long after the server is back.
    backoff: (tries) => Math.min(2, 0.05 * 2 ** tries),
    connection: {
      application_name: options.name,
      // A process that is frozen inside a transaction would hold its locks, and with them every recovery, for ever.
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS_MAX,
    },
    types: { bigint },
    transform: { ...postgres.camel, undefined: null },
    onnotice: () => undefined,
  });
}

/** For commands that people type: throws `server_unfit`, with what to do, when PostgreSQL can't be reached. */
export async function requirePostgres(
  sql: postgres.Sql<Record<string, never>> | Sql,
): Promise<void> {
  try {
    await sql`SELECT 1`;
  } catch (error) {
    throw new Fault(
      'server_unfit',
      `PostgreSQL can't be used: ${(error as Error).message}\nIs it running, and is DATABASE_URL right? \`npm start\` runs one of its own.`,
      { cause: error },
    );
  }
}
