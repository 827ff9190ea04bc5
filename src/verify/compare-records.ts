/**
 * Compares every record in Redis with its row in PostgreSQL, also while both change.
 *
 * The two servers are never read at the same moment, so each reservation is decided from what cannot change back:
 *
 *   row and record have one version     all their fields must be equal: a version never changes
 *   the row is behind, or missing       a violation if PostgreSQL's checkpoint had reached the last event that Redis had
 *                                       when the record was read; otherwise undecided
 *   the row is ahead                    the record was read earlier, so it is undecided; a violation if a record that is
 *                                       read after the row is still behind it
 *
 * Undecided reservations are read again after PostgreSQL has the events that Redis had. A reservation changes a few
 * times, so a few rounds decide each one, however busy the sale is. Only a persister that does not catch up leaves
 * some undecided, and the check then fails and says so.
 */
import { indexedRecordField, isBuyerIndex } from '../domain/buyer-index.ts';
import { Fault } from '../domain/fault.ts';
import { parseReservationId } from '../domain/identifiers.ts';
import { ordinalOf } from '../domain/positions.ts';
import { waitlistTicketOf } from '../domain/waitlist.ts';
import { saleKey } from '../lua/keys.ts';
import type { SaleState } from '../lua/read/read-sale.ts';
import { BatchTerms } from '../redis/batch-terms.ts';
import type { CheckName } from './catalogue.ts';
import {
  type Check,
  counted,
  fromRedis,
  inOneStep,
  type Verification,
  Violations,
} from './check.ts';
import { indexDifferences, unnamedRecords } from './compare-indexes.ts';
import { NoteComparison } from './compare-notes.ts';
import type { SeenOrdinals } from './compare-order.ts';
import { termsDifferences } from './compare-terms.ts';
import { uncoveredHolds } from './hold-coverage.ts';
import { differenceOf, type RedisRecord, type Row, recordsIn, rowsOf } from './reservation-row.ts';

const BUYERS_PER_READ = 1_000;
/** So many undecided reservations are kept before they are settled. They take a few hundred bytes each. */
const UNDECIDED_MAX = 20_000;
/** A reservation usually has up to four versions, and each can be caught once in each of two ways. */
const ROUNDS_MAX = 10;

interface Undecided {
  buyerId: string;
  /** PostgreSQL must have this event. */
  event: number;
  /** The version of the row that was ahead of the record; 0: it was not. */
  rowVersion: number;
  /** The version of the record whose hold was not among the deadlines; 0: it was. */
  uncoveredVersion: number;
}

/** Buyers' records at one moment. */
interface Reading {
  texts: Map<string, string>;
  /** The last event at that moment. */
  event: number;
}

export class RecordComparison {
  readonly #verification: Verification;
  readonly #upTo: SaleState;
  readonly #seen: SeenOrdinals;
  readonly #terms: BatchTerms;
  readonly #undecided = new Map<string, Undecided>();
  readonly #differences = new Violations();
  readonly #withoutDeadline = new Violations();
  #compared = 0;
  #holds = 0;
  /** Why undecided reservations stay undecided. */
  #gaveUp: string | undefined;

  constructor(verification: Verification, upTo: SaleState, seen: SeenOrdinals) {
    this.#verification = verification;
    this.#upTo = upTo;
    this.#seen = seen;
    const { servers, saleId } = verification;
    this.#terms = new BatchTerms(servers.shards.of(saleId).client, saleId);
  }

  /** `onCompared` gets the number of records compared so far. */
  async run(onCompared: (count: number) => void): Promise<Check[]> {
    for await (const { fields, event } of this.#scan('buyers')) {
      const indexes = fields.filter(([, text]) => isBuyerIndex(text));
      await this.#compareAll({ texts: textsByBuyer(fields), event });
      this.#addAll(await indexDifferences(this.#verification, indexes));
      onCompared(this.#compared);
    }
    for await (const { fields } of this.#scan('terms')) {
      this.#addAll(await termsDifferences(this.#verification, fields));
    }
    const notes = new NoteComparison(this.#verification, this.#upTo);
    // Last: a record that moves to the past meanwhile is seen at least once.
    for await (const { fields, event } of this.#scan('past')) {
      await this.#compareAll({ texts: textsByBuyer(fields), event });
      await this.#compareKeys(fields);
      this.#addAll(await unnamedRecords(this.#verification, fields));
      await notes.compare(fields, event);
      onCompared(this.#compared);
    }
    await this.#settle();
    return [...this.#checks(), await notes.check()];
  }

  #addAll(differences: readonly string[]): void {
    for (const each of differences) this.#differences.add(each);
  }

  async *#scan(
    key: 'buyers' | 'past' | 'terms',
  ): AsyncGenerator<{ fields: [field: string, value: string][]; event: number }> {
    const { servers, saleId } = this.#verification;
    const { client } = servers.shards.of(saleId);
    let cursor = '0';
    do {
      const [scanned, event] = (await inOneStep(
        client
          .multi()
          .hscan(saleKey(saleId, key), cursor, 'COUNT', BUYERS_PER_READ)
          .hget(saleKey(saleId, 'sale'), 'events'),
      )) as [[string, string[]], string];
      const [next, flat] = scanned;
      // A field may occur twice.
      const fields = new Map<string, string>();
      for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i]!, flat[i + 1]!);
      if (key === 'buyers') await fromRedis(this.#terms.load(fields.values()));
      yield { fields: [...fields], event: Number(event) };
      if (this.#undecided.size > UNDECIDED_MAX) await this.#settle();
      cursor = next;
    } while (cursor !== '0');
  }

  /** In the past, a buyer's key leads to the position of its reservation. Neither ever changes. */
  async #compareKeys(fields: readonly [field: string, value: string][]): Promise<void> {
    const { servers, saleId } = this.#verification;
    const keyed = [...textsByBuyer(fields)].flatMap(([buyerId, text]) =>
      this.#parse(buyerId, text).flatMap(({ reservation }) => {
        const { idempotencyKey, position } = reservation;
        // The key of a reservation from the waitlist cannot be sent.
        const isSent = idempotencyKey !== '' && waitlistTicketOf(reservation) === undefined;
        return isSent ? [{ field: `${buyerId}\t\t${idempotencyKey}`, position }] : [];
      }),
    );
    if (keyed.length === 0) return;
    const { client } = servers.shards.of(saleId);
    const found = await fromRedis(
      client.hmget(saleKey(saleId, 'past'), ...keyed.map(({ field }) => field)),
    );
    for (const [index, { field, position }] of keyed.entries()) {
      if (found[index] === String(position)) continue;
      const [buyerId, , key] = field.split('\t');
      this.#differences.add(`${buyerId}: the key ${key} does not lead to position ${position}`);
    }
  }

  async #compareAll({ texts, event }: Reading): Promise<void> {
    const records: RedisRecord[] = [];
    for (const [buyerId, text] of texts) records.push(...this.#parse(buyerId, text));
    for (const { reservation } of records) this.#see(reservation.position);
    this.#compared += records.length;
    await this.#judgeAll(records, event, new Map());
  }

  #parse(buyerId: string, text: string): RedisRecord[] {
    const { saleId, state } = this.#verification;
    const { currency } = state.definition;
    try {
      const records = recordsIn(this.#terms.whole(text), { saleId, currency }, buyerId);
      const positions = new Set(records.map(({ reservation }) => reservation.position));
      if (positions.size < records.length) {
        this.#differences.add(`${buyerId} has a duplicate reservation`);
      }
      return records;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#differences.add(`${buyerId}: ${error.message}`);
      return [];
    }
  }

  #see(position: number): void {
    if (position <= this.#upTo.position) this.#seen.add(ordinalOf(position, this.#upTo.gaps));
  }

  /** `event` is the last one when the records were read. `before`: what earlier rounds left undecided. */
  async #judgeAll(
    records: readonly RedisRecord[],
    event: number,
    before: ReadonlyMap<string, Undecided>,
  ): Promise<void> {
    // In this order: rows that are read later have every event up to the checkpoint.
    const checkpoint = await this.#verification.readCheckpoint();
    const ids = records.map(({ reservation }) => reservation.reservationId);
    const rows = await rowsOf(this.#verification.servers.sql, ids);
    const uncovered = await uncoveredHolds(this.#verification, records);
    for (const record of records) {
      const { reservationId, buyerId, version } = record.reservation;
      const row = rows.get(reservationId);
      const earlier = before.get(reservationId);
      if (row?.version === version) {
        this.#judgeEqual(record, row, uncovered.has(reservationId), earlier);
      } else if (row && row.version > version) {
        if (version < (earlier?.rowVersion ?? 0)) {
          this.#differences.add(versionsOf(record, row));
        } else {
          this.#undecided.set(reservationId, {
            buyerId,
            event: 0,
            rowVersion: row.version,
            uncoveredVersion: 0,
          });
        }
      } else if (checkpoint >= event) {
        this.#differences.add(row ? versionsOf(record, row) : `${reservationId} has no row`);
      } else {
        this.#undecided.set(reservationId, { buyerId, event, rowVersion: 0, uncoveredVersion: 0 });
      }
    }
  }

  #judgeEqual(
    record: RedisRecord,
    row: Row,
    isUncovered: boolean,
    earlier: Undecided | undefined,
  ): void {
    const { reservationId, buyerId, version } = record.reservation;
    const difference = differenceOf(record, row);
    if (difference) this.#differences.add(difference);
    if (record.reservation.status === 'reserved') this.#holds += 1;
    if (!isUncovered) return;
    // The record has not changed since, so the deadline was missing while it was a hold.
    if (earlier?.uncoveredVersion === version) {
      this.#withoutDeadline.add(`${reservationId} has none at ${record.reservation.expiresAt}`);
    } else {
      this.#undecided.set(reservationId, {
        buyerId,
        event: 0,
        rowVersion: 0,
        uncoveredVersion: version,
      });
    }
  }

  /** Reads the undecided reservations again until all are decided or PostgreSQL does not catch up. */
  async #settle(): Promise<void> {
    for (let round = 0; this.#undecided.size > 0 && this.#gaveUp === undefined; round += 1) {
      if (round === ROUNDS_MAX) this.#gaveUp = `they changed in each of ${ROUNDS_MAX} rounds`;
      else this.#gaveUp = await this.#waitForPostgres();
      if (this.#gaveUp !== undefined) return;
      const before = new Map(this.#undecided);
      this.#undecided.clear();
      const all = [...before];
      for (let from = 0; from < all.length; from += BUYERS_PER_READ) {
        await this.#judgeAgain(new Map(all.slice(from, from + BUYERS_PER_READ)));
      }
    }
  }

  async #judgeAgain(before: ReadonlyMap<string, Undecided>): Promise<void> {
    const { texts, event } = await this.#readBuyers(before);
    const records: RedisRecord[] = [];
    const found = new Set<string>();
    for (const [buyerId, text] of texts) {
      for (const record of this.#parse(buyerId, text)) {
        const { reservationId } = record.reservation;
        if (before.get(reservationId)?.buyerId !== buyerId) continue;
        records.push(record);
        found.add(reservationId);
      }
    }
    for (const id of before.keys()) {
      if (!found.has(id)) this.#differences.add(`${id} is no longer in Redis`);
    }
    await this.#judgeAll(records, event, before);
  }

  /** The records of the buyers of these reservations, those included that have moved to the past. */
  async #readBuyers(reservations: ReadonlyMap<string, Undecided>): Promise<Reading> {
    const { servers, saleId } = this.#verification;
    const buyers = [...new Set(Array.from(reservations.values(), ({ buyerId }) => buyerId))];
    const pastFields = [...reservations].flatMap(([id, { buyerId }]) => {
      const { position } = parseReservationId(id)!;
      return [`${buyerId}\t${position}`, indexedRecordField(buyerId, position)];
    });
    const [texts, past, event] = (await inOneStep(
      servers.shards
        .of(saleId)
        .client.multi()
        .hmget(saleKey(saleId, 'buyers'), ...buyers)
        .hmget(saleKey(saleId, 'past'), ...pastFields)
        .hget(saleKey(saleId, 'sale'), 'events'),
    )) as [(string | null)[], (string | null)[], string];
    await fromRedis(this.#terms.load(texts.map((text) => text ?? '')));
    const fields = [
      ...buyers.map((buyerId, index) => [buyerId, texts[index] ?? ''] as const),
      ...pastFields.map((field, index) => [field, past[index] ?? ''] as const),
    ];
    return { texts: textsByBuyer(fields), event: Number(event) };
  }

  #waitForPostgres(): Promise<string | undefined> {
    const events = Array.from(this.#undecided.values(), ({ event }) => event);
    return this.#verification.waitForEvent(Math.max(...events));
  }

  #checks(): Check[] {
    const undecided = this.#undecided.size;
    const incomplete =
      undecided === 0
        ? ''
        : `${undecided} of ${counted(this.#compared, 'reservation')} could not be compared: ${this.#gaveUp}`;
    const check = (
      name: CheckName,
      expected: string,
      violations: Violations,
      sound: string,
    ): Check => {
      const wrong = [...(violations.count > 0 ? [String(violations)] : []), incomplete];
      const actual = wrong.filter((text) => text !== '').join('; ');
      return { name, ok: actual === '', expected, actual: actual || sound };
    };
    return [
      check(
        'every-reservation-in-redis-is-a-row',
        'each with the same buyer, status, version, position, times, items, prices and key',
        this.#differences,
        `${this.#compared} compared, all equal`,
      ),
      check(
        'every-hold-has-its-deadline',
        'each hold is among the deadlines in Redis, at its own',
        this.#withoutDeadline,
        `${counted(this.#holds, 'hold')} found`,
      ),
    ];
  }
}

/** From fields of both hashes, see lua/keys.ts. */
function textsByBuyer(
  fields: Iterable<readonly [field: string, value: string]>,
): Map<string, string> {
  const texts = new Map<string, string>();
  for (const [field, value] of fields) {
    const [buyerId, position] = field.split('\t') as [string, string?];
    const isNote = buyerId === '';
    const isKey = position === '';
    if (isNote || isKey || value === '' || isBuyerIndex(value)) continue;
    const others = texts.get(buyerId);
    texts.set(buyerId, others === undefined ? value : `${others}\n${value}`);
  }
  return texts;
}

function versionsOf({ reservation }: RedisRecord, row: Row): string {
  return `${reservation.reservationId}: version ${reservation.version} in Redis, ${row.version} in PostgreSQL`;
}
