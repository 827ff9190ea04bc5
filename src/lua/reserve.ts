/** Decides a batch of buyers of one sale in one atomic call. The contract is the header of reserve.lua. */
import { CHANGE_KEYS } from './keys.ts';
import { defineScript, malformed, type Reply } from './script.ts';

export interface ReserveRequest {
  buyerId: string;
  /** Empty: none was sent. */
  idempotencyKey: string;
  /** Canonical, see domain/reservation.ts. */
  items: string;
  requestId: string;
  traceparent: string;
}

const REFUSALS = [
  'key_reused',
  'unknown_sku',
  'sold_out',
  'insufficient_stock',
  'limit_reached',
  'sale_not_started',
  'sale_paused',
  'sale_ended',
  'overloaded',
  'unknown_sale',
  'recovering',
] as const;
export type ReserveRefusal = (typeof REFUSALS)[number];
const REFUSAL_SET: ReadonlySet<string> = new Set(REFUSALS);

export type ReserveOutcome =
  | { outcome: 'reserved' | 'replayed'; record: string }
  | { outcome: ReserveRefusal };

export const reserve = defineScript({
  name: 'reserve',
  keys: CHANGE_KEYS,
  args: 'tag backlogMax requests',
  encode(batch: { tag: string; backlogMax: number; requests: readonly ReserveRequest[] }) {
    let lines = '';
    for (const { buyerId, idempotencyKey, items, requestId, traceparent } of batch.requests) {
      lines += `${buyerId}\t${idempotencyKey}\t${items}\t${requestId}\t${traceparent}\n`;
    }
    // All of it is ASCII.
    return [batch.tag, batch.backlogMax, Buffer.from(lines, 'latin1')];
  },
  decode(reply: Reply, batch): ReserveOutcome[] {
    if (typeof reply !== 'string') throw malformed('reserve', reply);
    const lines = reply.split('\n');
    if (lines.length !== batch.requests.length) throw malformed('reserve', reply);
    return lines.map(decodeOutcome);
  },
});

function decodeOutcome(line: string): ReserveOutcome {
  if (line.startsWith('reserved\t')) return { outcome: 'reserved', record: line.slice(9) };
  if (line.startsWith('replayed\t')) return { outcome: 'replayed', record: line.slice(9) };
  if (!REFUSAL_SET.has(line)) throw malformed('reserve', line);
  return { outcome: line as ReserveRefusal };
}
