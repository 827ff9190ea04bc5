/**
 * The HTTP side of both conventional designs: a tuned Fastify. It verifies the token with fast-jwt, whose cache is as
 * large as the engine's, validates the body by a schema, and responds as the engine does.
 */
import { createVerifier } from 'fast-jwt';
import Fastify from 'fastify';
import type { Sql } from 'postgres';
import { type ProblemCode, problem } from '../../src/api/problems.ts';
import type { PublicReservation } from '../../src/domain/reservation.ts';
import { type RunningProcess, runUntilStopped } from '../../src/process/lifecycle.ts';

export interface Order {
  saleId: string;
  buyerId: string;
  key: string;
  quantity: number;
}

export interface Decided {
  position: number;
  reservedAt: number;
}

/** Resolves when the buyer may get the response. */
export type Decide = (order: Order) => Promise<Decided | 'sold_out'>;

const TOKENS_REMEMBERED = 100_000;
const PRICE = 1_000;
const HOLD_MS = 300_000;

const BODY_SCHEMA = {
  type: 'object',
  required: ['sku', 'quantity'],
  properties: { sku: { type: 'string' }, quantity: { type: 'integer', minimum: 1, maximum: 100 } },
};
const text = { type: 'string' };
const whole = { type: 'integer' };
/** Fastify compiles a serializer from it, which is faster than JSON.stringify. */
const RESERVATION_SCHEMA = {
  type: 'object',
  properties: {
    reservationId: text,
    saleId: text,
    buyerId: text,
    status: text,
    items: {
      type: 'array',
      items: { type: 'object', properties: { sku: text, quantity: whole, unitPrice: whole } },
    },
    total: whole,
    currency: text,
    position: whole,
    reservedAt: text,
    expiresAt: text,
  },
};

/** `open` connects to the store that decides. */
export async function runShop(
  open: () => Promise<{ decide: Decide } & RunningProcess>,
): Promise<void> {
  await runUntilStopped(async () => {
    const shop = await open();
    const verify = createVerifier({
      key: process.env.JWT_SECRET!,
      algorithms: ['HS256'],
      requiredClaims: ['sub'],
      cache: TOKENS_REMEMBERED,
    });
    const unauthorized = JSON.stringify(problem('unauthorized'));
    const app = Fastify({ logger: false });
    app.get('/readyz', () => 'ready');
    app.post<{ Params: { saleId: string }; Body: { sku: string; quantity: number } }>(
      '/v1/sales/:saleId/buy',
      { schema: { body: BODY_SCHEMA, response: { 201: RESERVATION_SCHEMA } } },
      async (request, reply) => {
        const { saleId } = request.params;
        const { sku, quantity } = request.body;
        const buyerId = buyerOf(request.headers.authorization);
        if (buyerId === undefined) return refuse('unauthorized', unauthorized);
        const key = String(request.headers['idempotency-key'] ?? '');
        const decided = await shop.decide({ saleId, buyerId, key, quantity });
        if (decided === 'sold_out') return refuse('sold_out', soldOut(sku, quantity));
        return reply.code(201).send(reservationOf({ saleId, buyerId, quantity }, decided));

        function refuse(code: ProblemCode, body: string) {
          return reply.code(problem(code).status).type('application/problem+json').send(body);
        }
      },
    );
    await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
    return {
      close: async () => {
        await app.close();
        await shop.close();
      },
    };

    function buyerOf(authorization: string | undefined): string | undefined {
      if (!authorization?.startsWith('Bearer ')) return undefined;
      try {
        return (verify(authorization.slice(7)) as { sub: string }).sub;
      } catch {
        return undefined;
      }
    }
  });
}

function soldOut(sku: string, requested: number): string {
  return JSON.stringify({ ...problem('sold_out'), items: [{ sku, requested, available: 0 }] });
}

/** An order as the engine writes it: the columns of `reservations`. */
export function rowOf(order: Order, decided: Decided) {
  const { reservationId, items, total, currency, position, reservedAt, expiresAt, status } =
    reservationOf(order, decided);
  return {
    reservation_id: reservationId,
    sale_id: order.saleId,
    buyer_id: order.buyerId,
    status,
    items: JSON.stringify(items),
    total,
    currency,
    position,
    version: 1,
    idempotency_key: order.key,
    reserved_at: reservedAt,
    expires_at: expiresAt,
    updated_at: reservedAt,
    request_id: `request-${position}`,
    traceparent: '',
  };
}

function reservationOf(
  order: Pick<Order, 'saleId' | 'buyerId' | 'quantity'>,
  { position, reservedAt }: Decided,
): PublicReservation {
  return {
    reservationId: `${order.saleId}_${position}_V1StGXR8`,
    saleId: order.saleId,
    buyerId: order.buyerId,
    status: 'reserved',
    items: [{ sku: 'unit', quantity: order.quantity, unitPrice: PRICE }],
    total: PRICE * order.quantity,
    currency: 'EUR',
    position,
    source: 'purchase',
    reservedAt: new Date(reservedAt).toISOString(),
    expiresAt: new Date(reservedAt + HOLD_MS).toISOString(),
  };
}

/** More connections would only wait for each other's commits on the disk. */
export const POOL_SIZE = 32;

/** A table with the columns and indexes of the engine's reservations. */
export async function orderTable(sql: Sql, name: string): Promise<void> {
  await sql`CREATE TABLE IF NOT EXISTS ${sql(name)} (LIKE reservations INCLUDING ALL)`;
}
