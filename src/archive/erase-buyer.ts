/**
 * Replaces a buyer's id by a pseudonym in the archived sales. The pseudonym is random and stored nowhere beside the rows,
 * so it cannot be traced back. Sales that Redis still has are left out: their records are needed to serve the buyer.
 */
import { nanoid } from 'nanoid';
import { changeWithDigest } from '../postgres/archive-digest.ts';
import { inTransaction, type Sql, type Transaction } from '../postgres/connection.ts';
import { lockHistory } from '../postgres/sale-locks.ts';

export interface Erasure {
  /** Undefined: no archived sale has the id. */
  pseudonym: string | undefined;
  saleIds: string[];
  reservations: number;
  /** Sales with reservations of the buyer that are not archived. */
  leftOut: string[];
}

/** Free texts of an archived sale, in which a merchant or an operator may have written the id. */
const SALE_TEXTS = {
  dead_letters: ['payload', 'reason', 'discard_reason'],
  webhook_messages: ['payload'],
  webhook_deliveries: ['payload', 'last_error'],
  stock_ledger: ['reason'],
  audit_log: ['details'],
  sale_recoveries: ['report'],
} as const;

/** Safe to repeat. Throws PostgreSQL's errors. */
export async function eraseBuyer(
  sql: Sql,
  buyerId: string,
  caller: { actor: string; requestId: string },
): Promise<Erasure> {
  return inTransaction<Erasure>(sql, async (transaction) => {
    const sales = await transaction<{ saleId: string; isArchived: boolean }[]>`
      SELECT sale_id, archived_at IS NOT NULL AS is_archived FROM sales
      WHERE sale_id IN (SELECT sale_id FROM reservations WHERE buyer_id = ${buyerId})
        OR archived_at IS NOT NULL AND sale_id IN (
          SELECT sale_id FROM dead_letters WHERE position(${buyerId} IN payload) > 0)
      ORDER BY sale_id`;
    const saleIds = sales.filter(({ isArchived }) => isArchived).map(({ saleId }) => saleId);
    const leftOut = sales.filter(({ isArchived }) => !isArchived).map(({ saleId }) => saleId);
    const pseudonym = `erased-${nanoid(16)}`;
    let reservations = 0;
    let texts = 0;
    for (const saleId of saleIds) {
      await lockHistory(transaction, saleId);
      const rows = await transaction<{ reservationId: string }[]>`
        SELECT reservation_id FROM reservations WHERE sale_id = ${saleId} AND buyer_id = ${buyerId}`;
      const ids = rows.map(({ reservationId }) => reservationId);
      reservations += ids.length;
      texts += await changeWithDigest(transaction, saleId, ids, () =>
        replaceIn(transaction, saleId, ids, { buyerId, pseudonym }),
      );
    }
    if (reservations + texts === 0) {
      return { pseudonym: undefined, saleIds: [], reservations, leftOut };
    }
    await transaction`
      INSERT INTO audit_log (actor, action, sale_id, request_id, details)
      SELECT ${caller.actor}, 'erase-buyer', sale_id, ${caller.requestId}, ${transaction.json({ pseudonym })}::jsonb
      FROM unnest(${transaction.array(saleIds)}) AS sale_id`;
    return { pseudonym, saleIds, reservations, leftOut };
  });
}

/** Returns the number of changed rows in tables other than the reservations'. */
async function replaceIn(
  transaction: Transaction,
  saleId: string,
  reservationIds: readonly string[],
  { buyerId, pseudonym }: { buyerId: string; pseudonym: string },
): Promise<number> {
  const [own, shared] = [wordOf(buyerId, 'A-Za-z0-9'), wordOf(buyerId, 'A-Za-z0-9_.@-')];
  const replaced = (column: string, word: string) =>
    transaction`regexp_replace(${transaction(column)}::text, ${word}, ${pseudonym}, 'g')`;
  const ids = transaction.array([...reservationIds]);
  // The engine wrote the key and the detail of a reservation from the waitlist. A buyer may be called like a word in them.
  await transaction`
    UPDATE reservations SET buyer_id = ${pseudonym},
      idempotency_key = CASE reservations.source WHEN 'waitlist' THEN idempotency_key
        ELSE ${replaced('idempotency_key', own)} END,
      request_id = ${replaced('request_id', own)}
    WHERE reservation_id = ANY(${ids})`;
  await transaction`
    UPDATE reservation_events SET detail = CASE detail WHEN 'waitlist' THEN detail ELSE ${replaced('detail', own)} END,
      request_id = ${replaced('request_id', own)}
    WHERE reservation_id = ANY(${ids})`;
  let changed = 0;
  for (const [table, columns] of Object.entries(SALE_TEXTS)) {
    for (const column of columns) {
      const type =
        column === 'details' || column === 'report' ? transaction`::jsonb` : transaction``;
      const { count } = await transaction`
        UPDATE ${transaction(table)} SET ${transaction(column)} = ${replaced(column, shared)}${type}
        WHERE sale_id = ${saleId} AND ${transaction(column)}::text ~ ${shared}`;
      changed += count;
    }
  }
  return changed;
}

/**
 * A regular expression for the id as a whole word, in each form in which texts have it. In the rows of the buyer it may
 * touch punctuation; elsewhere that could be the id of another buyer. In the JSON of an entry, a TAB before it is written
 * as \t.
 */
function wordOf(buyerId: string, letters: string): string {
  const forms = [buyerId, JSON.stringify(buyerId).slice(1, -1), encodeURIComponent(buyerId)];
  const escaped = forms.map((form) => form.replaceAll(/[^A-Za-z0-9]/g, (each) => `\\${each}`));
  return `((?<![${letters}])|(?<=\\\\[tn]))(${[...new Set(escaped)].join('|')})(?![${letters}])`;
}
