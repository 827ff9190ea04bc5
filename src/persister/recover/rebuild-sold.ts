/** What a sale's rows in PostgreSQL come to, counted while they pass by. */

import type { Gap } from '../../domain/positions.ts';
import { waitlistTicketOf } from '../../domain/waitlist.ts';
import type { ReservationRow } from './rebuild-rows.ts';

export class Sold {
  reservations = 0;
  lastTicket = 0;
  /** Places in line that were served. */
  readonly tickets = new Set<number>();
  readonly units = new Map<string, { held: number; confirmed: number }>();
  readonly #gaps: Gap[] = [];
  #lastPosition = 0;

  count(row: ReservationRow): void {
    this.reservations += 1;
    this.#findGap(row.position - 1);
    this.#lastPosition = row.position;
    const ticket = waitlistTicketOf(row);
    if (ticket !== undefined) {
      this.tickets.add(ticket);
      this.lastTicket = Math.max(this.lastTicket, ticket);
    }
    for (const { sku, quantity } of row.basket.items) {
      let units = this.units.get(sku);
      if (!units) {
        units = { held: 0, confirmed: 0 };
        this.units.set(sku, units);
      }
      if (row.status === 'reserved') units.held += quantity;
      if (row.status === 'confirmed') units.confirmed += quantity;
    }
  }

  /** PostgreSQL has the decisions from the first on without gaps, so what lacks a row was left out. */
  gapsUpTo(position: number): Gap[] {
    this.#findGap(position);
    return this.#gaps;
  }

  #findGap(before: number): void {
    const count = before - this.#lastPosition;
    if (count > 0) this.#gaps.push({ after: this.#lastPosition, count });
  }
}
