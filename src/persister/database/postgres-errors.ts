/**
 * Classifies a failed write. Either the data causes the error, and repeating cannot help, or the server does, and waiting
 * can. When in doubt it is the server, because rejecting good data is the worse mistake.
 *
 *   data          classes 22 (data exception), 23 (constraint), 54 (too large), P0001 (raised by a trigger); `NumberTaken`
 *   conflict      class 40 (serialization, deadlock), 55P03 (lock not available): repeat the same
 *   unreachable   no connection can be made; the pool must be replaced
 *   unavailable   everything else: 08, 57P0x, 53, a standby (25006), a missing table, unknown errors
 */
import postgres from 'postgres';

export type PostgresErrorKind = 'data' | 'conflict' | 'unreachable' | 'unavailable';

const UNREACHABLE: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'CONNECT_TIMEOUT',
  'CONNECTION_DESTROYED',
  'CONNECTION_ENDED',
]);

/** Another event of the sale has the number of an event. */
export class NumberTaken extends Error {
  constructor(saleId: string, number: number) {
    super(`another event of ${saleId} has the number ${number}`);
    this.name = 'NumberTaken';
  }
}

export function classifyError(error: unknown): PostgresErrorKind {
  if (error instanceof NumberTaken) return 'data';
  const code = codeOf(error);
  if (error instanceof postgres.PostgresError) {
    if (/^(22|23|54|P0001)/.test(code)) return 'data';
    if (/^(40|55P03)/.test(code)) return 'conflict';
    return 'unavailable';
  }
  return UNREACHABLE.has(code) ? 'unreachable' : 'unavailable';
}

/** For a dead letter: the code and the message. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  return code === '' ? message : `${code}: ${message}`;
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}
