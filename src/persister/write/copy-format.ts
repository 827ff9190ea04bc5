/**
 * Rows in PostgreSQL's binary COPY format, as strings with one byte a character. PostgreSQL then parses no dates and
 * numbers, and no text needs escaping.
 *
 * Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". A field is its length in four
 * bytes, then its value as the type's receive function reads it.
 */

/** Signature, flags, length of the header's extension. */
export const COPY_HEAD = 'PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0';
export const COPY_TAIL = '\xff\xff';
/** Of any type. */
export const NULL_FIELD = '\xff\xff\xff\xff';

/** The number of a row's fields. */
export function rowHead(fields: number): string {
  return String.fromCharCode(fields >> 8, fields & 255);
}

const LENGTHS = Array.from({ length: 256 }, (_, length) => int4Bytes(length));
const IS_ASCII = /^[\0-\x7f]*$/;

/** For `text` and `char(n)`. */
export function textField(value: string): string {
  return field(IS_ASCII.test(value) ? value : Buffer.from(value).toString('latin1'));
}

export function jsonbField(value: unknown): string {
  return textField(`\x01${JSON.stringify(value)}`);
}

export function int4Field(value: number): string {
  return LENGTHS[4]! + int4Bytes(value);
}

/** For `bigint`, from an integer between 0 and 2^53. */
export function int8Field(value: number): string {
  return LENGTHS[8]! + int4Bytes(Math.floor(value / 2 ** 32)) + int4Bytes(value % 2 ** 32);
}

const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1);
const TIMES_REMEMBERED_MAX = 64;
const timesRemembered = new Map<number, string>();

/** For `timestamptz`, from milliseconds since 1970. The events of a batch share a few times. */
export function timeField(ms: number): string {
  let bytes = timesRemembered.get(ms);
  if (bytes === undefined) {
    const micros = Buffer.alloc(8);
    micros.writeBigInt64BE(BigInt(ms - POSTGRES_EPOCH_MS) * 1_000n);
    bytes = field(micros.toString('latin1'));
    if (timesRemembered.size >= TIMES_REMEMBERED_MAX) timesRemembered.clear();
    timesRemembered.set(ms, bytes);
  }
  return bytes;
}

function field(bytes: string): string {
  return (LENGTHS[bytes.length] ?? int4Bytes(bytes.length)) + bytes;
}

function int4Bytes(value: number): string {
  return String.fromCharCode(
    (value >>> 24) & 255,
    (value >>> 16) & 255,
    (value >>> 8) & 255,
    value & 255,
  );
}
