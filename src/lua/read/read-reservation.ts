/** Reads a reservation of any buyer, and its newest events. The contract is the header of read-reservation.lua. */
import type { ReservationAddress } from '../../domain/identifiers.ts';
import { parseEvent, parseRecord } from '../../domain/reservation-codec.ts';
import { defineScript } from '../script.ts';

export const readReservation = defineScript({
  source: new URL('read-reservation.lua', import.meta.url),
  keys: ['sale', 'buyers', 'past', 'terms', 'order', 'events'],
  args: 'index position tag after most',
  // Shows decisions to merchants.
  needsReplicas: true,
  encode: (request: {
    address: ReservationAddress;
    /** Of the position in the order, from 0. */
    index: number;
    /** Events are read from the entries after this one. */
    after: string;
    entriesMax: number;
  }) => [
    request.index,
    request.address.position,
    request.address.tag,
    request.after,
    request.entriesMax,
  ],
  words: ['unknown_sale', 'recovering', 'sale_ended', 'unknown_reservation'],
  decode([outcome, buyerId, currency, record, lines, last], saleId) {
    if (outcome !== 'known' || !Array.isArray(lines)) return undefined;
    const sale = { saleId, currency: String(currency) };
    const events = [];
    for (let i = 0; i < lines.length; i += 2) {
      events.push({ ...parseEvent(String(lines[i + 1]), sale), event: Number(lines[i]) });
    }
    return {
      outcome,
      reservation: parseRecord(String(record), sale, String(buyerId)),
      events,
      /** The last entry that was read; undefined: there are no more. */
      lastEntry: last === '' ? undefined : String(last),
    };
  },
});
