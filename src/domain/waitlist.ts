/**
 * The text formats of the waitlist, the buyers who wait for returned units. In Lua, parts/waitlist-member.lua is the
 * counterpart; no other file knows the fields.
 *
 * A member of a SKU's waitlist is `sku TAB ticket TAB buyer TAB quantity`. Tickets ascend in the order of joining. In
 * `lineByQuantity` it is `sku TAB quantity (3 digits) TAB ticket TAB buyer`. A ticket has twelve digits; a longer one has a
 * letter for its length before them, because members are ordered as texts.
 */

const MEMBER = /^[^\t]+\t(?:\d{12}|[a-d]\d{13,16})\t[^\t]+\t[1-9]\d{0,2}$/;

export function isWaitlistMember(text: string): boolean {
  return MEMBER.test(text);
}

export function parseWaitlistMember(member: string) {
  const [sku = '', ticket = '', buyerId = '', quantity] = member.split('\t');
  return { sku, ticket: Number(ticket.replace(/^[a-d]/, '')), buyerId, quantity: Number(quantity) };
}

/** The member of `lineByQuantity` for a member of `line`. */
export function memberByQuantity(member: string): string {
  const [sku = '', ticket = '', buyerId = '', quantity = ''] = member.split('\t');
  return `${sku}\t${quantity.padStart(3, '0')}\t${ticket}\t${buyerId}`;
}

export function quantityOf(byQuantity: string): number {
  return Number(byQuantity.split('\t')[1]);
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
  const ticket = /^waitlist [a-d]?(\d+)$/.exec(reservation.idempotencyKey)?.[1];
  return ticket === undefined ? undefined : Number(ticket);
}
