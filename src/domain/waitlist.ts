/**
 * The text formats of the waitlist, the buyers who wait for returned units. In Lua, parts/waitlist-member.lua is the
 * counterpart; no other file knows the fields.
 *
 * A member of a SKU's waitlist is `sku TAB ticket TAB buyer TAB quantity`. Tickets ascend in the order of joining.
 */

export function parseWaitlistMember(member: string) {
  const [sku = '', ticket, buyerId = ''] = member.split('\t');
  return { sku, ticket: Number(ticket), buyerId };
}

/** The field of the hash `waiting` that stores a buyer's member for a SKU. */
export function waitingField(buyerId: string, sku: string): string {
  return `${buyerId}\t${sku}`;
}

export function parseWaitingField(field: string): { buyerId: string; sku: string } {
  const [buyerId = '', sku = ''] = field.split('\t');
  return { buyerId, sku };
}

/** The waitlist ticket that a reservation was given for; undefined: the buyer bought it. */
export function waitlistTicketOf(reservation: { idempotencyKey: string }): number | undefined {
  const ticket = /^waitlist (\d+)$/.exec(reservation.idempotencyKey)?.[1];
  return ticket === undefined ? undefined : Number(ticket);
}
