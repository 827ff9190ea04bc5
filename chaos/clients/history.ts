/**
 * The model: every request that a client sent and its response, with the times of both. The checker has no other
 * source about the clients.
 */
import type { Item, PublicReservation } from '../../src/domain/reservation.ts';

export type ClientRequest =
  | { kind: 'buy'; buyerId: string; key: string | undefined; items: readonly Item[] }
  | { kind: 'me'; buyerId: string }
  | { kind: 'read'; buyerId: string; reservationId: string }
  | { kind: 'release'; buyerId: string; reservationId: string }
  | { kind: 'join'; buyerId: string; sku: string; quantity: number }
  | { kind: 'leave'; buyerId: string }
  | { kind: 'confirm'; reservationId: string; paymentRef?: string; reclaim?: true }
  | { kind: 'cancel'; reservationId: string; restock?: false }
  /** Of these units only, which are not all that the reservation has. */
  | {
      kind: 'cancel-part';
      reservationId: string;
      key?: string;
      items: readonly Item[];
      restock?: false;
    }
  | { kind: 'extend'; reservationId: string }
  | { kind: 'stock'; key: string; sku: string; delta: number }
  | { kind: 'open' }
  | { kind: 'pause' }
  | { kind: 'resume' }
  | { kind: 'end' }
  | { kind: 'archive' }
  | { kind: 'move-end'; endsAtMs: number };
export type RequestKind = ClientRequest['kind'];
export type RequestOf<Kind extends RequestKind> = Extract<ClientRequest, { kind: Kind }>;

export interface ClientResponse {
  status: number;
  /** Of a refusal. */
  code: string | undefined;
  isReplayed: boolean;
  body: unknown;
}

/** Times are ms since the epoch. Clients and servers share one clock, because they run on one machine. */
export interface Exchange<A extends ClientRequest = ClientRequest> {
  request: A;
  requestId: string;
  startedMs: number;
  endedMs: number;
  /** Undefined: the connection failed or the response timed out, so the outcome is unknown. */
  response: ClientResponse | undefined;
}

export class History {
  readonly exchanges: Exchange[] = [];
  /** Requests whose client gave up without a settled response. */
  readonly unsettled: ClientRequest[] = [];

  readonly #changesOf = new Map<string, Exchange<ChangeOfReservation>[]>();

  add(exchange: Exchange): void {
    this.exchanges.push(exchange);
    if (!isChangeOfReservation(exchange)) return;
    const { reservationId } = exchange.request;
    const changes = this.#changesOf.get(reservationId);
    if (changes) changes.push(exchange);
    else this.#changesOf.set(reservationId, [exchange]);
  }

  /** The requests that may have changed a reservation. */
  changesOf(reservationId: string): readonly Exchange<ChangeOfReservation>[] {
    return this.#changesOf.get(reservationId) ?? [];
  }

  ofKind<Kind extends RequestKind>(kind: Kind): Exchange<RequestOf<Kind>>[] {
    return this.exchanges.filter(
      (exchange): exchange is Exchange<RequestOf<Kind>> => exchange.request.kind === kind,
    );
  }
}

export type ChangeOfReservation = RequestOf<
  'confirm' | 'cancel' | 'cancel-part' | 'extend' | 'release'
>;
const CHANGES: readonly RequestKind[] = ['confirm', 'cancel', 'cancel-part', 'extend', 'release'];

function isChangeOfReservation(exchange: Exchange): exchange is Exchange<ChangeOfReservation> {
  return CHANGES.includes(exchange.request.kind);
}

/** Whether a response settles the request. 503 and no response mean that it must be repeated. */
export function isSettled(exchange: Exchange): boolean {
  const { response } = exchange;
  return response !== undefined && response.status !== 503;
}

/** The reservations in a response. */
export function reservationsIn({ request, response }: Exchange): PublicReservation[] {
  if (!response || response.status >= 300) return [];
  switch (request.kind) {
    case 'buy':
    case 'read':
    case 'release':
    case 'confirm':
    case 'cancel':
    case 'cancel-part':
    case 'extend':
      return [response.body as PublicReservation];
    case 'me':
      return (response.body as { reservations: PublicReservation[] }).reservations;
    default:
      return [];
  }
}

let last = 0;
/** The clock of the history. It never goes back, even if the machine's clock does. */
export function nowMs(): number {
  last = Math.max(last, Date.now());
  return last;
}
