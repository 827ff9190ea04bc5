/**
 * The model: every request that any client sent, and what it was answered, with the times around it. The checker takes
 * nothing else for what clients were told.
 */
import type { Item, PublicReservation } from '../../src/domain/reservation.ts';

export type ClientRequest =
  | { kind: 'buy'; buyerId: string; key: string | undefined; items: readonly Item[] }
  | { kind: 'me'; buyerId: string }
  | { kind: 'read'; buyerId: string; reservationId: string }
  | { kind: 'release'; buyerId: string; reservationId: string }
  | { kind: 'join'; buyerId: string; sku: string; quantity: number }
  | { kind: 'leave'; buyerId: string }
  | { kind: 'confirm'; reservationId: string }
  | { kind: 'cancel'; reservationId: string }
  | { kind: 'extend'; reservationId: string }
  | { kind: 'stock'; key: string; sku: string; delta: number }
  | { kind: 'open' }
  | { kind: 'pause' }
  | { kind: 'resume' };
export type RequestKind = ClientRequest['kind'];
export type RequestOf<Kind extends RequestKind> = Extract<ClientRequest, { kind: Kind }>;

export interface ClientResponse {
  status: number;
  /** Of a refusal. */
  code: string | undefined;
  isReplayed: boolean;
  body: unknown;
}

/** Times are milliseconds since the epoch on the harness' clock, which is the servers' too: it is one machine. */
export interface Exchange<A extends ClientRequest = ClientRequest> {
  request: A;
  requestId: string;
  startedMs: number;
  endedMs: number;
  /** Undefined: the connection broke or nothing came in time, so the outcome is unknown. */
  response: ClientResponse | undefined;
}

export class History {
  readonly exchanges: Exchange[] = [];
  /** Requests whose sender lost patience without ever having got a real answer. */
  readonly unanswered: ClientRequest[] = [];

  readonly #endings = new Map<string, Exchange[]>();

  add(exchange: Exchange): void {
    this.exchanges.push(exchange);
    const { request } = exchange;
    if (request.kind !== 'release' && request.kind !== 'cancel') return;
    const endings = this.#endings.get(request.reservationId) ?? [];
    this.#endings.set(request.reservationId, [...endings, exchange]);
  }

  /** The requests that may have ended a reservation. */
  endingsOf(reservationId: string): readonly Exchange[] {
    return this.#endings.get(reservationId) ?? [];
  }

  ofKind<Kind extends RequestKind>(kind: Kind): Exchange<RequestOf<Kind>>[] {
    return this.exchanges.filter(
      (exchange): exchange is Exchange<RequestOf<Kind>> => exchange.request.kind === kind,
    );
  }
}

/** Whether an answer decides anything: 503 and silence both mean "ask again". */
export function isSettled(exchange: Exchange): boolean {
  return exchange.response !== undefined && exchange.response.status !== 503;
}

/** The reservations that an answer shows. */
export function reservationsIn({ request, response }: Exchange): PublicReservation[] {
  if (!response || response.status >= 300) return [];
  switch (request.kind) {
    case 'buy':
    case 'read':
    case 'release':
    case 'confirm':
    case 'cancel':
    case 'extend':
      return [response.body as PublicReservation];
    case 'me':
      return (response.body as { reservations: PublicReservation[] }).reservations;
    default:
      return [];
  }
}

let last = 0;
/** The clock of the history, which is the servers' too; it never goes back, not even when the machine's does. */
export function nowMs(): number {
  last = Math.max(last, Date.now());
  return last;
}
