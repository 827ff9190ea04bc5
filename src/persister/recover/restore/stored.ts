/** What PostgreSQL has of a sale's reservations and dead letters, to compare with Redis. */
import type { ReservationSource } from '../../../domain/reservation.ts';
import type { Transaction } from '../../../postgres/connection.ts';

export interface Stored {
  currency: string;
  /** How long holds are without an extension, and how long an extension is. */
  holdMs: Record<ReservationSource | 'extension', number>;
  /** The last event. */
  checkpoint: number;
  /** By position. */
  rows: ReadonlyMap<number, { reservationId: string; version: number }>;
  /** Events that PostgreSQL rejected. They are retried or discarded by an operator, and are not restored. */
  letters: {
    numbers: ReadonlySet<number>;
    positions: ReadonlySet<number>;
    /** `position version`. */
    versions: ReadonlySet<string>;
    /** Some of them have no numbers: they were in an entry that cannot be read. */
    hasUnnumbered: boolean;
  };
}

export async function readStored(transaction: Transaction, saleId: string): Promise<Stored> {
  const [sale] = await transaction<
    { currency: string; purchase: number; waitlist: number; event: number }[]
  >`
    SELECT currency, hold_seconds AS purchase, coalesce(waitlist_hold_seconds, hold_seconds) AS waitlist, coalesce((SELECT event FROM checkpoints WHERE sale_id = ${saleId}), 0)::bigint AS event
    FROM sales WHERE sale_id = ${saleId}`;
  const rows = await transaction<{ position: number; reservationId: string; version: number }[]>`
    SELECT position, reservation_id, version FROM reservations WHERE sale_id = ${saleId}`;
  return {
    currency: sale?.currency ?? '',
    holdMs: {
      purchase: 1_000 * (sale?.purchase ?? 0),
      waitlist: 1_000 * (sale?.waitlist ?? 0),
      extension: 1_000 * (sale?.purchase ?? 0),
    },
    checkpoint: sale?.event ?? 0,
    rows: new Map(rows.map((row) => [row.position, row])),
    letters: await readLetters(transaction, saleId),
  };
}

async function readLetters(transaction: Transaction, saleId: string): Promise<Stored['letters']> {
  const letters = await transaction<{ event: number | null; payload: string }[]>`
    SELECT event, payload FROM dead_letters letter WHERE sale_id = ${saleId}
      AND (event IS NULL OR NOT EXISTS (
        SELECT FROM reservation_history WHERE sale_id = letter.sale_id AND event = letter.event))`;
  const numbers = new Set<number>();
  const positions = new Set<number>();
  const versions = new Set<string>();
  let hasUnnumbered = false;
  for (const { event, payload } of letters) {
    if (event === null) hasUnnumbered = true;
    else numbers.add(event);
    // An entry that could not be parsed is stored as JSON, in which a TAB is escaped.
    const lines = payload.matchAll(
      /(?:^|\n|\\n|")(\d{1,9})(?:\t|\\t)[A-Z](?:\t|\\t)(\d{1,16})(?=\t|\\t)/g,
    );
    for (const [, version, position] of lines) {
      positions.add(Number(position));
      versions.add(`${position} ${version}`);
    }
  }
  return { numbers, positions, versions, hasUnnumbered };
}
