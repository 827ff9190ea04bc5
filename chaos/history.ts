/**
 * The model: every request that any client sent, and what it was answered, with the times around it. The checker takes
 * nothing else for what clients were told.
 */
import type { Item, PublicReservation } from '../src/domain/reservation.ts';

export type Asked =
  | { kind: 'buy'; buyerId: string; key: string | undefined; items: readonly Item[] }
  | { kind: 'me'; buyerId: string }
  | { kind: 'look'; buyerId: string; reservationId: string }
  | { kind: 'give-back'; buyerId: string; reservationId: string }
  | { kind: 'join'; buyerId: string; sku: string; quantity: number }
  | { kind: 'leave'; buyerId: string }
  | { kind: 'confirm'; reservationId: string }
  | { kind: 'cancel'; reservationId: string }
  | { kind: 'extend'; reservationId: string }
  | { kind: 'stock'; key: string; sku: string; delta: number }
  | { kind: 'open' }
  | { kind: 'pause' }
  | { kind: 'resume' };
export type AskedKind = Asked['kind'];
export type AskedOf<Kind extends AskedKind> = Extract<Asked, { kind: Kind }>;

export interface Answer {
  status: number;
  /** Of a refusal. */
  code: string | undefined;
  isReplayed: boolean;
  body: unknown;
}

/** Times are milliseconds since the epoch on the harness' clock, which is the servers' too: it is one machine. */
export interface Exchange<A extends Asked = Asked> {
  asked: A;
  requestId: string;
  beganMs: number;
  endedMs: number;
  /** Undefined: the connection broke or nothing came in time, so the outcome is unknown. */
  answer: Answer | undefined;
}

export class History {
  readonly exchanges: Exchange[] = [];
  /** Requests whose sender lost patience without ever having got a real answer. */
  readonly unanswered: Asked[] = [];

  readonly #endings = new Map<string, Exchange[]>();

  add(exchange: Exchange): void {
    this.exchanges.push(exchange);
    const { asked } = exchange;
    if (asked.kind !== 'give-back' && asked.kind !== 'cancel') return;
    const endings = this.#endings.get(asked.reservationId) ?? [];
    this.#endings.set(asked.reservationId, [...endings, exchange]);
  }

  /** The requests that may have ended a reservation. */
  endingsOf(reservationId: string): readonly Exchange[] {
    return this.#endings.get(reservationId) ?? [];
  }

  ofKind<Kind extends AskedKind>(kind: Kind): Exchange<AskedOf<Kind>>[] {
    return this.exchanges.filter(
      (exchange): exchange is Exchange<AskedOf<Kind>> => exchange.asked.kind === kind,
    );
  }
}

/** Whether an answer decides anything: 503 and silence both mean "ask again". */
export function isSettled(exchange: Exchange): boolean {
  return exchange.answer !== undefined && exchange.answer.status !== 503;
}

/** The reservations that an answer shows. */
export function reservationsIn({ asked, answer }: Exchange): PublicReservation[] {
  if (!answer || answer.status >= 300) return [];
  switch (asked.kind) {
    case 'buy':
    case 'look':
    case 'give-back':
    case 'confirm':
    case 'cancel':
    case 'extend':
      return [answer.body as PublicReservation];
    case 'me':
      return (answer.body as { reservations: PublicReservation[] }).reservations;
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
