/**
 * The connection pool to PostgreSQL and the JavaScript types of its rows. It also works behind PgBouncer, where the next
 * transaction may get another session: nothing is prepared by name there, and settings end with their transaction.
 */
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
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
const POOLER_RETRY_MS = 500;

export function connectPostgres(
  url: string,
  options: { process: string; connectionsMax: number },
): Sql {
  const sql = postgres(url, {
    ...verifiedAddress(url),
    prepare: false,
    max: options.connectionsMax,
    idle_timeout: 60,
    connect_timeout: 5,
    // The default waits up to 20 s between attempts of the whole pool, long after the server is available again.
    backoff: (tries) => Math.min(2, 0.05 * 2 ** tries),
    // PgBouncer rejects most other parameters.
    connection: { application_name: APPLICATION_PREFIX + options.process },
    types: { bigint },
    transform: { ...postgres.camel, undefined: null },
    onnotice: () => undefined,
  });
  void prepareWithoutPooler(sql);
  return sql;
}

/**
 * Prepared statements save a round trip for each query. They exist in one session of PostgreSQL, so they are used once
 * the session is known to be the connection's own: a pooler gives its clients process ids that PostgreSQL does not have.
 */
async function prepareWithoutPooler(sql: Sql): Promise<void> {
  for (;;) {
    try {
      const session = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
      // The pool reads its options for each query.
      sql.options.prepare = session.state.pid === session[0]!.pid;
      return;
    } catch (error) {
      if ((error as { code?: unknown }).code === 'CONNECTION_ENDED') return;
      await sleep(POOLER_RETRY_MS, undefined, { ref: false });
    }
  }
}

/**
 * A transaction that PostgreSQL ends when its process sends nothing for too long. Otherwise a process that is frozen
 * inside it would keep its locks and block every recovery. The setting costs no round trip of its own.
 */
export async function inTransaction<T>(
  sql: Sql,
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  return (await sql.begin(async (transaction) => {
    const limit = transaction
      .unsafe(`SET LOCAL idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS_MAX}`)
      .execute();
    const [result] = await Promise.all([work(transaction), limit]);
    return result;
  })) as T;
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
