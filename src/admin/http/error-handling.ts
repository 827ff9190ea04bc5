/**
 * Responses to requests that never reach their handler, or whose handler fails: always a problem from the catalogue,
 * never a stack trace.
 */
import type { Socket } from 'node:net';
import type {
  ConnectionError,
  FastifyError,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
} from 'fastify';
import { eachFieldOnce, type FieldError, problemOf, UNKNOWN_FIELD } from '../../api/problems.ts';
import { Fault } from '../../domain/fault.ts';
import { http } from '../../process/node-http.ts';
import { sendProblem } from './serve-operation.ts';

export const BODY_BYTES_MAX = 64 * 1024;

/** All methods that Node parses, except CONNECT, which reaches no route. */
const METHODS = http.METHODS.filter((method) => method !== 'CONNECT');

/** PostgreSQL is unreachable, shutting down, or out of connections. */
const POSTGRES_UNAVAILABLE =
  /^(ECONN\w+|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|CONNECTION_\w+|CONNECT_TIMEOUT|08\w{3}|57P\w{2}|53\w{3})$/;

/** Statuses by Node's error code; any other code gets 400. */
const MALFORMED_STATUS: Record<string, number> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  HPE_HEADER_OVERFLOW: 431,
};

const MALFORMED_URL = 'must have a well-formed URL';

export function handleErrors(app: FastifyInstance): void {
  app.setErrorHandler(handleError);
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, 'not_found'));
  // Before any body is read: Fastify would read one even without a route.
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) return sendProblem(reply, 'not_found');
    if (!isWellFormed(request.url)) return sendInvalidRequest(reply, MALFORMED_URL);
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
        detail: `The body must not exceed ${BODY_BYTES_MAX} bytes.`,
      });
    case 'FST_ERR_BAD_URL':
      return sendInvalidRequest(reply, MALFORMED_URL);
    default:
  }
  // Fastify's own validation of a body or a request.
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return sendInvalidRequest(reply, error.message);
  }
  if (POSTGRES_UNAVAILABLE.test(error.code)) {
    request.log.warn({ reason: error.message }, 'postgres was unavailable');
  } else {
    request.log.error({ err: error }, 'request failed');
  }
  return sendProblem(reply, error instanceof Fault ? problemOf(error) : 'unavailable');
}

/**
 * Responds to bytes that are not valid HTTP and closes their connection. RFC 9457 uses the type `about:blank` for
 * problems without more information than their status.
 */
export function rejectMalformedRequest(error: ConnectionError, socket: Socket): void {
  const status = MALFORMED_STATUS[error.code] ?? 400;
  const title = http.STATUS_CODES[status];
  const body = JSON.stringify({ type: 'about:blank', title, status });
  const head = `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  if (socket.writable && error.code !== 'ECONNRESET') socket.end(head + body);
  else socket.destroy();
}

/** The query parser keeps escapes that are not UTF-8 as they are, so that a lookup would search for the escapes. */
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

/** Fastify reports a field as `/items/0/sku`; the client gets `items.0.sku`. Headers get their usual capitals. */
function fieldErrorsOf(error: FastifyError): FieldError[] {
  const isHeader = error.validationContext === 'headers';
  const errors = (error.validation ?? []).flatMap(({ instancePath, message, params }) => {
    const path = instancePath.slice(1).replaceAll('/', '.');
    const field = isHeader ? path.replaceAll(/\b[a-z]/g, (letter) => letter.toUpperCase()) : path;
    const unknownKeys = (params as { keys?: unknown }).keys;
    if (Array.isArray(unknownKeys)) {
      return unknownKeys.map((key) => ({
        field: field === '' ? String(key) : `${field}.${String(key)}`,
        message: UNKNOWN_FIELD,
      }));
    }
    return [{ field, message: message ?? 'must be valid' }];
  });
  return eachFieldOnce(errors);
}

/**
 * Responds 405 on every registered path to every other method. Call it before the first route, and call the returned
 * function after the last one.
 */
export function rejectOtherMethods(app: FastifyInstance): (register: FastifyInstance) => void {
  for (const method of METHODS) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
  }
  const methodsByUrl = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    // The Swagger UI plugin serves its own assets, with and without a trailing slash.
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
        // Before any body is read.
        onRequest: async (_request, reply) =>
          sendProblem(reply.header('Allow', allow), 'method_not_allowed'),
        handler: (_request, reply) => reply,
      });
    }
  };
}
