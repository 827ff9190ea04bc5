/**
 * Rehearsals: sales for trying out a deployed system. The id alone tells that a sale is one, so that every process knows
 * it without a query. A rehearsal sells only to buyers of rehearsals, announces nothing, and can be removed whole.
 */

const REHEARSAL_PREFIX = 'rehearsal-';

/** The beginning of the ids of rehearsals, and of their buyers. */
export const REHEARSAL_ID_RULE = `must begin with ${REHEARSAL_PREFIX}`;
export const NO_REHEARSAL_ID_RULE = `must not begin with ${REHEARSAL_PREFIX}, except for a rehearsal`;

/** The action of the operation that creates a rehearsal. Earlier versions could create a sale with such an id. */
export const REHEARSE = 'rehearse';

export function isRehearsal(saleId: string): boolean {
  return saleId.startsWith(REHEARSAL_PREFIX);
}

export function rehearsalId(suffix: string): string {
  return `${REHEARSAL_PREFIX}${suffix}`;
}

/** A buyer of the shop cannot buy from a rehearsal, even by its id. */
export function sellsTo(saleId: string, buyerId: string): boolean {
  return !isRehearsal(saleId) || isRehearsal(buyerId);
}

/** A pattern for LIKE in PostgreSQL. */
export const REHEARSALS_LIKE = `${REHEARSAL_PREFIX}%`;
