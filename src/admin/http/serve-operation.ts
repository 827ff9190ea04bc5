/**
 * The adapter between Fastify and the handlers: makes a route of an operation. The operation's schemas validate the
 * request, and its access sets the required role. The handler is a plain function from values to an outcome; the
 * request itself is for signing in, which is about the connection.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { type ApiOperation, responsesOf } from '../../api/operation.ts';
import {
  drawRetryAfterSeconds,
  type ProblemCode,
  problem,
  retryAfterOf,
} from '../../api/problems.ts';
import { unreachable } from '../../domain/fault.ts';
import { TRACEPARENT } from '../../domain/identifiers.ts';
import type { Pairing } from '../../pairing/pairing.ts';
import type { Caller, Principal } from '../context.ts';
import { Bulkhead, type BulkheadLimits } from './bulkhead.ts';
import { isRefusal, type Outcome, type Refusal } from './outcome.ts';

declare module 'fastify' {
  interface FastifyRequest {
    principal?: Principal;
  }
  interface FastifyContextConfig {
    /** Absent for pages and their assets, which are public. */
    operation?: ApiOperation;
  }
}

type Parsed<T> = T extends z.ZodType ? z.infer<T> : undefined;

/** A validated request with defaults filled in. */
export interface OperationInput<Operation extends ApiOperation> {
  params: Parsed<Operation['params']>;
  query: Parsed<Operation['query']>;
  headers: Parsed<Operation['headers']>;
  body: Parsed<Operation['body']>;
  caller: Caller;
}

export function serveOperation<const Operation extends ApiOperation>(
  app: FastifyInstance,
  operation: Operation,
  handle: (input: OperationInput<Operation>, request: FastifyRequest) => Promise<Outcome>,
  limits: BulkheadLimits = {},
): void {
  const { params, query, headers, body } = operation;
  const bulkhead = new Bulkhead(limits);
  app.route({
    method: operation.method,
    url: operation.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    config: { operation },
    schema: {
      ...(params ? { params } : {}),
      ...(query ? { querystring: query } : {}),
      ...(headers ? { headers } : {}),
      ...(body ? { body } : {}),
      response: responsesOf(operation),
      operationId: operation.operationId,
      tags: [operation.tag],
      summary: operation.summary,
      ...(operation.description ? { description: operation.description } : {}),
      security: securityOf(operation),
    },
    handler: async (request, reply) => {
      const input = {
        params: request.params,
        query: request.query,
        headers: request.headers,
        body: request.body,
        caller: { actor: request.principal?.actor ?? 'anonymous', requestId: request.id },
      } as OperationInput<Operation>;
      const result = await bulkhead.run(() => handle(input, request), sentOrDisconnected(reply));
      if (isRefusal(result)) return sendRefusal(reply, result);
      reply.status(result.status).headers(result.headers ?? {});
      return result.body === undefined ? reply.send() : reply.send(result.body);
    },
  });
}

/** Rejects changes while this database does not belong to Redis. */
export function requirePairedServers(app: FastifyInstance, pairing: Pairing | undefined): void {
  app.addHook('preHandler', async (request, reply) => {
    const access = request.routeOptions.config.operation?.access;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (access === undefined || access === 'public' || isRead) return undefined;
    const refusal = pairing?.refusal;
    return refusal === undefined
      ? undefined
      : sendProblem(reply, 'unavailable', { detail: refusal });
  });
}

/** Every response carries its request id and the client's trace context. No cache may keep one. */
export function setHeaders(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('X-Request-Id', request.id);
    reply.header('Cache-Control', 'no-store');
    const { traceparent } = request.headers;
    if (typeof traceparent === 'string' && TRACEPARENT.test(traceparent)) {
      reply.header('traceparent', traceparent);
    }
  });
}

export function sendProblem(
  reply: FastifyReply,
  code: ProblemCode,
  extensions: Record<string, unknown> = {},
): FastifyReply {
  const body = problem(code, extensions);
  if (code === 'unauthorized') reply.header('WWW-Authenticate', 'Bearer realm="admin"');
  const retryAfter = retryAfterOf(code);
  if (retryAfter !== undefined && !reply.hasHeader('Retry-After')) {
    reply.header('Retry-After', String(drawRetryAfterSeconds(retryAfter)));
  }
  // As a string: the route's response schemas do not apply to problems.
  return reply.status(body.status).type('application/problem+json').send(JSON.stringify(body));
}

export function sendRefusal(reply: FastifyReply, refusal: Refusal): FastifyReply {
  return sendProblem(reply.headers(refusal.headers ?? {}), refusal.refused, refusal.extensions);
}

/** Resolves when the response has been sent or the client has disconnected. */
function sentOrDisconnected({ raw }: FastifyReply): Promise<void> {
  if (raw.closed) return Promise.resolve();
  return new Promise((resolve) => void raw.once('close', resolve));
}

function securityOf(operation: ApiOperation): Record<string, string[]>[] {
  switch (operation.access) {
    case 'public':
      return [];
    case 'buyer':
      return [{ buyerToken: [] }, { buyerHeader: [] }];
    case 'viewer':
    case 'merchant':
    case 'operator':
      return [
        ...(operation.credentials === 'session' ? [] : [{ adminToken: [] }]),
        ...(operation.credentials === 'token' ? [] : [{ adminSession: [] }]),
      ];
    default:
      return unreachable(operation.access);
  }
}
