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
  args: 'tag backlogMax, then for each request: buyer key items trace',
  encode(batch: { tag: string; backlogMax: number; requests: readonly ReserveRequest[] }) {
    const args: (string | number)[] = [batch.tag, batch.backlogMax];
    for (const request of batch.requests) {
      args.push(
        request.buyerId,
        request.idempotencyKey,
        request.items,
        `${request.requestId}\t${request.traceparent}`,
      );
    }
    return args;
  },
  decode(reply: Reply, batch): ReserveOutcome[] {
    if (!Array.isArray(reply) || reply.length !== batch.requests.length) {
      throw malformed('reserve', reply);
    }
    return reply.map(decodeOutcome);
  },
});

function decodeOutcome(line: Reply): ReserveOutcome {
  if (typeof line !== 'string') throw malformed('reserve', line);
  if (line.startsWith('reserved\t')) return { outcome: 'reserved', record: line.slice(9) };
  if (line.startsWith('replayed\t')) return { outcome: 'replayed', record: line.slice(9) };
  if (!REFUSAL_SET.has(line)) throw malformed('reserve', line);
  return { outcome: line as ReserveRefusal };
}
