/**
 * What is answered when a request never reaches its handler, or when the handler fails: always a problem out of
 * the catalogue, never a stack trace.
 */
import { METHODS as NODE_METHODS, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type {
  ConnectionError,
  FastifyError,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
} from 'fastify';
import { type FieldError, problemOf } from '../../api/problems.ts';
import { Fault } from '../../domain/fault.ts';
import { sendProblem } from './serve-operation.ts';

export const BODY_BYTES_MAX = 64 * 1024;

/** All that Node reads; a CONNECT reaches no route. */
const METHODS = NODE_METHODS.filter((method) => method !== 'CONNECT');

/** PostgreSQL is away, ending, or out of connections: nothing is wrong with us, so no error is logged. */
const POSTGRES_AWAY =
  /^(ECONN\w+|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|CONNECTION_\w+|CONNECT_TIMEOUT|08\w{3}|57P\w{2}|53\w{3})$/;

/** By Node's name for what is wrong; the status of anything else is 400. */
const UNREADABLE_STATUS: Record<string, number> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  HPE_HEADER_OVERFLOW: 431,
};

export function handleErrors(app: FastifyInstance): void {
  app.setErrorHandler(handleError);
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, 'not_found'));
  // Before any body is read, for which Fastify would look even where there is no route.
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) return sendProblem(reply, 'not_found');
    if (!isWellFormed(request.url))
      return sendInvalidRequest(reply, 'the address is not well-formed');
    return undefined;
  });
}

export function handleError(error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  if (error.validation) {
    return sendProblem(reply, 'invalid_request', { errors: fieldErrorsOf(error) });
  }
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return sendProblem(reply, 'payload_too_large', {
        detail: `The body may have ${BODY_BYTES_MAX} bytes at most.`,
      });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return sendInvalidRequest(reply, 'wants Content-Type: application/json');
    case 'FST_ERR_BAD_URL':
      return sendInvalidRequest(reply, 'the address is not well-formed');
    default:
  }
  // What Fastify itself finds wrong with a body or a request.
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return sendInvalidRequest(reply, error.message);
  }
  if (POSTGRES_AWAY.test(error.code)) {
    request.log.warn({ reason: error.message }, 'postgres is away');
  } else {
    request.log.error({ err: error }, 'a request failed');
  }
  return sendProblem(reply, error instanceof Fault ? problemOf(error) : 'unavailable');
}

/**
 * What is no HTTP reaches no route: it gets what Node found wrong with it, and its connection is closed. Problems that
 * say no more than their status are of the type `about:blank`.
 */
export function rejectMalformedRequest(error: ConnectionError, socket: Socket): void {
  const status = UNREADABLE_STATUS[error.code] ?? 400;
  const title = STATUS_CODES[status];
  const body = JSON.stringify({ type: 'about:blank', title, status });
  const head = `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  if (socket.writable && error.code !== 'ECONNRESET') socket.end(head + body);
  else socket.destroy();
}

/** Of a query that is no UTF-8 the parser would leave the escapes as they stand, and we would look for those. */
function isWellFormed(url: string): boolean {
  try {
    decodeURIComponent(url);
    return true;
  } catch {
    return false;
  }
}

function sendInvalidRequest(reply: FastifyReply, message: string) {
  return sendProblem(reply, 'invalid_request', { errors: [{ field: '', message }] });
}

/** Fastify says `/items/0/sku` of a part of the body; the caller gets `items.0.sku`. */
function fieldErrorsOf(error: FastifyError): FieldError[] {
  return (error.validation ?? []).flatMap(({ instancePath, message, params }) => {
    const field = instancePath.slice(1).replaceAll('/', '.');
    const unknownKeys = (params as { keys?: unknown }).keys;
    if (Array.isArray(unknownKeys)) {
      return unknownKeys.map((key) => ({
        field: field === '' ? String(key) : `${field}.${String(key)}`,
        message: 'is not a field of this request',
      }));
    }
    return [{ field, message: message ?? 'is not valid' }];
  });
}

/** Answers 405 for every known path that is asked with another method. Call it when all routes are there. */
export function rejectOtherMethods(app: FastifyInstance): (register: FastifyInstance) => void {
  for (const method of METHODS) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
  }
  const methodsByUrl = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    // The page's assets are the plugin's business; it has its routes twice, with and without a slash.
    if (url.startsWith('/docs')) return;
    const methods = methodsByUrl.get(url) ?? new Set<string>();
    for (const name of [method].flat()) methods.add(name);
    methodsByUrl.set(url, methods);
  });
  return (register) => {
    for (const [url, known] of methodsByUrl) {
      const others = METHODS.filter((method) => !known.has(method));
      const allow = [...known].sort().join(', ');
      register.route({
        method: others,
        url,
        schema: { hide: true },
        // Before any body is read: a wrong method is wrong whatever comes with it.
        onRequest: async (_request, reply) =>
          sendProblem(reply.header('Allow', allow), 'method_not_allowed'),
        handler: (_request, reply) => reply,
      });
    }
  };
}

/**
 * Reads JSON bodies, strictly: UTF-8 that is not well-formed is refused rather than mended, no body at all is
 * undefined, and other types are not read.
 */
export function readJsonBodies(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) return done(null, undefined);
    let text: string;
    try {
      text = utf8.decode(body as Buffer);
    } catch {
      return done(
        Object.assign(new Error('the body is not well-formed UTF-8'), { statusCode: 422 }),
      );
    }
    return parseJson(request, text, done);
  });
}
