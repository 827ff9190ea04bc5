/** Reads what one buyer has in a sale. The contract is the header of read-buyer.lua. */
import { parseRecord, type Reservation } from '../domain/reservation.ts';
import { defineScript, malformed, type Reply } from './script.ts';

export type ReadBuyerReply =
  | { outcome: 'unknown_sale' | 'recovering' }
  | { outcome: 'known'; perBuyerLimit: number; reservations: Reservation[] };

export const readBuyer = defineScript({
  name: 'read-buyer',
  keys: ['sale', 'buyers'],
  args: 'buyer',
  encode(_saleId: string, buyerId: string) {
    return [buyerId];
  },
  decode(reply: Reply, saleId, buyerId): ReadBuyerReply {
    if (!Array.isArray(reply)) throw malformed('read-buyer', reply);
    const [outcome, limit, currency, records] = reply;
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'known' || typeof records !== 'string') throw malformed('read-buyer', reply);
    const sale = { saleId, currency: String(currency) };
    return {
      outcome,
      perBuyerLimit: Number(limit),
      reservations:
        records === ''
          ? []
          : records.split('\n').map((record) => parseRecord(record, sale, buyerId)),
    };
  },
});
