/**
 * Rows in PostgreSQL's binary COPY format. PostgreSQL then parses no dates and numbers, and no text needs escaping.
 *
 * Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". A row is the number of its fields in two
 * bytes, and its fields; a field is its length in four bytes, then its value as the type's receive function reads it.
 */

/** Signature, flags, length of the header's extension. */
export const COPY_HEAD = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
export const COPY_TAIL = Buffer.from([0xff, 0xff]);

const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1);

/** The beginning of a row: fields that many rows share. */
export class FieldWriter {
  readonly #parts: Buffer[];

  /** With the number of fields of the whole row. */
  constructor(fields: number) {
    this.#parts = [Buffer.from([fields >> 8, fields])];
  }

  /** For `text` and `char(n)`. */
  text(value: string): void {
    this.#field(Buffer.from(value));
  }

  jsonb(value: unknown): void {
    this.text(`\x01${JSON.stringify(value)}`);
  }

  int4(value: number): void {
    this.#field(int4Bytes(value));
  }

  /** For `bigint`, from an integer between 0 and 2^53. */
  int8(value: number): void {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigInt64BE(BigInt(value));
    this.#field(bytes);
  }

  /** For `timestamptz`, from milliseconds since 1970. */
  time(ms: number): void {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigInt64BE(BigInt(ms - POSTGRES_EPOCH_MS) * 1_000n);
    this.#field(bytes);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #field(value: Buffer): void {
    this.#parts.push(int4Bytes(value.length), value);
  }
}

function int4Bytes(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
}

const TAB = 9;
const LF = 10;
/** More than what a row has beside its shared fields and the bytes of its line. */
const ROW_BYTES = 128;

/** Rows that are made of lines, whose fields are separated by TAB. Each call reads the next field or writes the next one. */
export class CopyRows {
  readonly #lines: Buffer;
  readonly #rows: number;
  #bytes: Buffer;
  /** Where the next field of the lines begins. */
  #from = 0;
  #length = 0;

  constructor(lines: readonly string[]) {
    this.#lines = Buffer.from(`${lines.join('\n')}\n`);
    this.#rows = lines.length;
    this.#bytes = Buffer.allocUnsafe(0);
  }

  /** Begins a row with the bytes of a `FieldWriter`. */
  write(shared: Buffer): void {
    // Only here: a row cannot need more than this.
    const most = shared.length + ROW_BYTES;
    const enough = this.#length + most + (this.#lines.length - this.#from);
    if (this.#bytes.length < enough) this.#grow(enough + most * this.#rows);
    this.#put(shared);
  }

  skipField(): void {
    while (this.#lines[this.#from]! > LF) this.#from += 1;
    this.#from += 1;
  }

  /** A text field from the next field of the line. */
  copyText(): void {
    const start = this.#beginField();
    this.#copyField();
    this.#endField(start);
  }

  /** A text field of a whole number between two texts. */
  wholeNumber(before: Buffer, value: number, after: Buffer): void {
    const start = this.#beginField();
    this.#put(before);
    this.#length += this.#bytes.write(String(value), this.#length, 'latin1');
    this.#put(after);
    this.#endField(start);
  }

  /** For `bigint`, from an integer between 0 and 2^53. */
  int8(value: number): void {
    const start = this.#beginField();
    this.#int4At(this.#length, Math.floor(value / 2 ** 32));
    this.#int4At(this.#length + 4, value % 2 ** 32);
    this.#length += 8;
    this.#endField(start);
  }

  take(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** TAB and LF are the only characters up to LF that a line may have. */
  #copyField(): void {
    const [lines, bytes] = [this.#lines, this.#bytes];
    let [from, to] = [this.#from, this.#length];
    for (let byte = lines[from]!; byte !== TAB && byte !== LF; byte = lines[from]!) {
      bytes[to] = byte;
      from += 1;
      to += 1;
    }
    this.#from = from + 1;
    this.#length = to;
  }

  #beginField(): number {
    this.#length += 4;
    return this.#length;
  }

  #endField(start: number): void {
    this.#int4At(start - 4, this.#length - start);
  }

  #int4At(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }

  #put(bytes: Buffer): void {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #grow(length: number): void {
    const larger = Buffer.allocUnsafe(length);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
