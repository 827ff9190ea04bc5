/**
 * One HTTP request and its response on uWebSockets.js. This class follows the rules of that library. It registers
 * `onAborted` first, and copies the values that it needs before the handler returns. It writes nothing after an abort,
 * and corks a response that is written later.
 */
import type { HttpRequest, HttpResponse, us_socket_context_t } from 'uWebSockets.js';
// The global `performance` is a getter, which costs as much as the clock itself.
import { performance } from 'node:perf_hooks';
import { customAlphabet } from 'nanoid';
import { drawRetryAfterSeconds, type ProblemCode } from '../../api/problems.ts';
import { BODY_BYTES_MAX, REQUEST_ID, TRACEPARENT } from '../../domain/identifiers.ts';
import type { Cors } from './cors.ts';
import type { PreparedResponse } from './responses.ts';
import type { ServerLoad } from './server-load.ts';
import type { Upload } from './upload-deadlines.ts';

/** The parts of a request that a WebSocket upgrade needs. */
export interface Handshake {
  key: string;
  /** Empty: no subprotocol. */
  protocol: string;
  extensions: string;
  context: us_socket_context_t;
}

/** The body is too large, or arrived too slowly. No decision was made, so the client may retry. */
export type BodyProblem = Extract<ProblemCode, 'payload_too_large' | 'overloaded'>;

const PROCESS_TAG = customAlphabet('abcdefghijklmnopqrstuvwxyz0123456789', 10)();
let requestCount = 0;

/** What a repeated or empty `Idempotency-Key` counts as: no valid key has a space. */
const INVALID_KEY = ' ';

/**
 * The headers that the hot path reads, copied in one pass. The first of several headers with one name counts, except for
 * `Idempotency-Key`.
 * One instance serves all requests: each request is copied before the next one starts.
 */
class RequestHeaders {
  authorization = '';
  buyerId = '';
  idempotencyKey = '';
  requestId = '';
  traceparent = '';
  origin = '';
  contentLength = '';
  isChunked = false;
  #lengths = 0;

  /**
   * False: the end of this request is ambiguous, so a proxy in front could be tricked into request smuggling.
   * That is the case if the length is repeated or empty, or if the transfer coding is not exactly `chunked`.
   * uWebSockets.js treats every transfer coding as `chunked`.
   */
  read(request: HttpRequest): boolean {
    this.authorization = '';
    this.buyerId = '';
    this.idempotencyKey = '';
    this.requestId = '';
    this.traceparent = '';
    this.origin = '';
    this.contentLength = '';
    this.isChunked = false;
    this.#lengths = 0;
    request.forEach(this.#take);
    return this.#lengths <= 1;
  }

  readonly #take = (name: string, value: string): void => {
    switch (name) {
      case 'authorization':
        this.authorization ||= value;
        break;
      case 'idempotency-key':
        // Not as none: a repeated request could then take effect twice.
        this.idempotencyKey = this.idempotencyKey === '' && value !== '' ? value : INVALID_KEY;
        break;
      case 'content-length':
        this.contentLength = value;
        this.#lengths += value === '' ? 2 : 1;
        break;
      case 'transfer-encoding':
        this.isChunked = true;
        this.#lengths += value.toLowerCase() === 'chunked' ? 1 : 2;
        break;
      case 'x-request-id':
        this.requestId ||= value;
        break;
      case 'traceparent':
        this.traceparent ||= value;
        break;
      case 'origin':
        this.origin ||= value;
        break;
      case 'x-buyer-id':
        this.buyerId ||= value;
        break;
      default:
    }
  };
}

/** Records requests for OpenTelemetry. */
export interface ExchangeTracer {
  /** Method and path of the operation that is served now; empty: it is not recorded. */
  route: string;
  /** The recorded span, if the sampler has chosen the request. */
  responded(exchange: HttpExchange, status: string): unknown;
}

/** What all exchanges of a server share. */
export interface ExchangeContext {
  /** Undefined while traces are off. */
  tracer?: ExchangeTracer | undefined;
  load: ServerLoad;
  cors: Cors;
  /** Logs and counts an exception, and maps it to a response. */
  responseToError: (error: unknown, exchange: { requestId: string }) => PreparedResponse;
}

const headers = new RequestHeaders();
const NO_BODY = Buffer.alloc(0);

export class HttpExchange implements Upload {
  readonly requestId: string;
  readonly traceparent: string;
  readonly authorization: string;
  /** The value of `X-Buyer-Id`, which a gateway sets. */
  readonly buyerId: string;
  readonly idempotencyKey: string;
  readonly startedAt = performance.now();
  readonly route: string;
  /** Once it has responded, while traces are on. */
  span: unknown;
  older: Upload | undefined;
  younger: Upload | undefined;
  /** Empty: no length was declared. */
  readonly #contentLength: string;
  readonly #hasBody: boolean;
  readonly #response: HttpResponse;
  readonly #load: ServerLoad;
  readonly #tracer: ExchangeTracer | undefined;
  readonly #responseToError: ExchangeContext['responseToError'];
  readonly #isHead: boolean;
  /** See `Cors.headFor`. */
  readonly #corsHead: string | undefined;
  #isAborted = false;
  #hasResponded = false;
  /** True while uWebSockets.js runs a callback: it sends everything written meanwhile together. */
  #isCorked = true;
  #closesConnection = false;
  /** Set until the body is complete or rejected. */
  #onBody: ((body: Buffer | BodyProblem) => void) | undefined;
  /** The parts received so far, when the body arrives in several. */
  #body: Buffer = NO_BODY;

  /** Undefined: the request was ambiguous. Its connection is closed, because its remainder must not be parsed. */
  static begin(
    response: HttpResponse,
    request: HttpRequest,
    context: ExchangeContext,
    isHead = false,
  ): HttpExchange | undefined {
    if (headers.read(request)) return new HttpExchange(response, context, isHead);
    response.close();
    return undefined;
  }

  private constructor(response: HttpResponse, context: ExchangeContext, isHead: boolean) {
    const { load, cors, responseToError, tracer } = context;
    this.#response = response;
    this.#tracer = tracer;
    this.route = tracer === undefined ? '' : tracer.route;
    this.#load = load;
    this.#responseToError = responseToError;
    this.#isHead = isHead;
    load.pending++;
    response.onAborted(() => {
      this.#isAborted = true;
      if (!this.#hasResponded) load.pending--;
      if (this.#onBody) load.uploads.remove(this);
    });
    const { requestId, traceparent, origin, contentLength } = headers;
    this.#corsHead = origin === '' ? undefined : cors.headFor(origin);
    this.requestId =
      requestId !== '' && REQUEST_ID.test(requestId)
        ? requestId
        : `${PROCESS_TAG}-${++requestCount}`;
    this.traceparent = traceparent !== '' && TRACEPARENT.test(traceparent) ? traceparent : '';
    this.authorization = headers.authorization;
    this.buyerId = headers.buyerId;
    this.idempotencyKey = headers.idempotencyKey;
    this.#contentLength = contentLength;
    this.#hasBody = headers.isChunked || (contentLength !== '' && contentLength !== '0');
  }

  /** The client closed the connection, so a unit sold now would have no buyer. */
  get isAborted(): boolean {
    return this.#isAborted;
  }

  /** The request comes from a page whose origin may read responses. */
  get isFromListedOrigin(): boolean {
    return this.#corsHead !== undefined;
  }

  /** Must be called when the synchronous part of the handler ends. */
  leaveHandler(): void {
    this.#isCorked = false;
  }

  /** An exception while serving this request: it is logged and counted, and fails this request only. */
  fail(error: unknown): void {
    const response = this.#responseToError(error, this);
    try {
      this.respond(response);
    } catch {
      // Writing has failed, which the first error tells.
    }
  }

  respond(prepared: PreparedResponse): void {
    if (this.#isAborted || this.#hasResponded) return;
    this.#hasResponded = true;
    this.#load.pending--;
    if (this.#isCorked) this.#write(prepared);
    else this.#response.cork(() => this.#write(prepared));
    if (this.#tracer !== undefined) this.span = this.#tracer.responded(this, prepared.status);
  }

  /**
   * Upgrades the request to a WebSocket and ends the exchange. The upgrade must not run inside our own cork. The
   * WebSocket can reuse the request's memory; the end of the cork would then close it as if it were the request.
   */
  upgrade(userData: object, handshake: Handshake): void {
    if (this.#isAborted || this.#hasResponded) return;
    this.#hasResponded = true;
    this.#load.pending--;
    // The server's connection filter reports no close for an upgraded connection.
    this.#load.connections--;
    const response = this.#response;
    const writeHead = () => {
      response.writeStatus('101 Switching Protocols');
      response.writeHeader('X-Request-Id', this.requestId);
    };
    if (this.#isCorked) writeHead();
    else response.cork(writeHead);
    const { key, protocol, extensions, context } = handshake;
    response.upgrade(userData, key, protocol, extensions, context);
  }

  /**
   * Collects the body and calls back once, with the bytes or with a problem. The bytes are valid during the call only.
   * Later data from the client is read and discarded, so that the client receives the response. Without a body the
   * callback runs synchronously.
   */
  readBody(onBody: (body: Buffer | BodyProblem) => void): void {
    if (!this.#hasBody) {
      onBody(NO_BODY);
      return;
    }
    if (Number(this.#contentLength) > BODY_BYTES_MAX) {
      onBody('payload_too_large');
      return;
    }
    this.#onBody = onBody;
    this.#load.uploads.add(this);
    this.#response.onData((chunk, isLast) => {
      if (!this.#onBody || this.#isAborted) return;
      this.#isCorked = true;
      this.#addChunk(chunk, isLast);
      this.#isCorked = false;
    });
  }

  /** Rejects a body that takes too long, and closes the connection, because the rest may never arrive. */
  abortUpload(): void {
    this.#closesConnection = true;
    this.#endBody('overloaded');
  }

  #addChunk(chunk: ArrayBuffer, isLast: boolean): void {
    // The chunk's memory is valid during the callback only.
    const part = Buffer.from(chunk);
    if (this.#body.length + part.length > BODY_BYTES_MAX) {
      this.#endBody('payload_too_large');
    } else if (isLast) {
      this.#endBody(this.#body.length === 0 ? part : Buffer.concat([this.#body, part]));
    } else {
      this.#body = Buffer.concat([this.#body, part]);
    }
  }

  #endBody(result: Buffer | BodyProblem): void {
    const onBody = this.#onBody;
    this.#onBody = undefined;
    this.#body = NO_BODY;
    this.#load.uploads.remove(this);
    try {
      onBody?.(result);
    } catch (error) {
      this.fail(error);
    }
  }

  #write(prepared: PreparedResponse): void {
    const response = this.#response;
    response.writeStatus(prepared.status);
    response.writeHeader('Cache-Control', prepared.head);
    response.writeHeader('X-Request-Id', this.requestId);
    if (this.traceparent !== '') response.writeHeader('traceparent', this.traceparent);
    if (this.#corsHead !== undefined) {
      response.writeHeader('Access-Control-Allow-Origin', this.#corsHead);
    }
    if (prepared.retryAfter !== undefined) {
      response.writeHeader('Retry-After', String(drawRetryAfterSeconds(prepared.retryAfter)));
    }
    const closesConnection = this.#closesConnection || this.#load.isDraining;
    if (prepared.body !== undefined && !this.#isHead) response.end(prepared.body, closesConnection);
    else this.#endWithoutBody(prepared.body, closesConnection);
  }

  /**
   * With arguments, `endWithoutBody` of uWebSockets.js 20 never finishes the response. So headers tell the client the
   * length that GET would have, and that it must close the connection.
   */
  #endWithoutBody(body: string | undefined, closesConnection: boolean): void {
    const response = this.#response;
    if (body !== undefined) response.writeHeader('Content-Length', String(Buffer.byteLength(body)));
    if (closesConnection) response.writeHeader('Connection', 'close');
    response.endWithoutBody();
  }
}
