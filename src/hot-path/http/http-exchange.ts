/**
 * One request and its answer on uWebSockets.js, with the rules of that library kept in this one place:
 * `onAborted` is registered before anything else; what the request says is copied while it is there, for it dies
 * with the handler; after an abort nothing is written; what is written later is corked.
 */
import type { HttpRequest, HttpResponse, us_socket_context_t } from 'uWebSockets.js';
// The global of that name is a getter, which costs as much again as the clock.
import { performance } from 'node:perf_hooks';
import { customAlphabet } from 'nanoid';
import type { ProblemCode } from '../../api/problems.ts';
import { BODY_BYTES_MAX, REQUEST_ID, TRACEPARENT } from '../../domain/identifiers.ts';
import type { PreparedResponse } from './responses.ts';
import type { ServerLoad, Upload } from './server-load.ts';

/** What a WebSocket's opening takes from its request. */
export interface Handshake {
  key: string;
  /** Empty: none. */
  protocol: string;
  extensions: string;
  context: us_socket_context_t;
}

/** Too long, or so slow that it was given up: of that nothing was decided, and it may be sent again. */
export type BodyRefusal = Extract<ProblemCode, 'payload_too_large' | 'overloaded'>;

const PROCESS_TAG = customAlphabet('abcdefghijklmnopqrstuvwxyz0123456789', 10)();
let requestCount = 0;

/**
 * What we want to know of a request's headers, copied in one pass, for they die with the handler. Of a header that
 * comes twice the first counts. One of these serves all requests, as each is copied before the next one begins.
 */
class RequestHeaders {
  authorization = '';
  buyerId = '';
  idempotencyKey = '';
  requestId = '';
  traceparent = '';
  contentLength = '';
  isChunked = false;
  #lengths = 0;

  /**
   * False: others may see another end of this request than we do. A length said more than once or left empty, a
   * transfer coding other than `chunked` alone, which these versions of uWebSockets.js read as if it were: a proxy that
   * reads it differently would let a second request be smuggled in.
   */
  read(request: HttpRequest): boolean {
    this.authorization = '';
    this.buyerId = '';
    this.idempotencyKey = '';
    this.requestId = '';
    this.traceparent = '';
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
        this.idempotencyKey ||= value;
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
      case 'x-buyer-id':
        this.buyerId ||= value;
        break;
      default:
    }
  };
}

const headers = new RequestHeaders();
const NO_BODY = Buffer.alloc(0);

export class HttpExchange implements Upload {
  readonly requestId: string;
  readonly traceparent: string;
  readonly authorization: string;
  /** Who it is, as a gateway says. */
  readonly buyerId: string;
  readonly idempotencyKey: string;
  readonly startedAt = performance.now();
  older: Upload | undefined;
  younger: Upload | undefined;
  /** Empty: none was declared. */
  readonly #contentLength: string;
  readonly #hasBody: boolean;
  readonly #response: HttpResponse;
  readonly #traffic: ServerLoad;
  #isAborted = false;
  #hasResponded = false;
  /** While uWebSockets.js calls us: it sends what is written then in one piece. */
  #isCorked = true;
  #closesAfter = false;
  /** Until the body is complete, or refused. */
  #onBody: ((body: Buffer | BodyRefusal) => void) | undefined;
  /** What has come of it, when it comes in several parts. */
  #body: Buffer = NO_BODY;

  /** Undefined: the request is ambiguous, and its connection was closed; an answer would leave the rest of it to be parsed. */
  static begin(
    response: HttpResponse,
    request: HttpRequest,
    traffic: ServerLoad,
  ): HttpExchange | undefined {
    if (headers.read(request)) return new HttpExchange(response, traffic);
    response.close();
    return undefined;
  }

  private constructor(response: HttpResponse, traffic: ServerLoad) {
    this.#response = response;
    this.#traffic = traffic;
    traffic.pending++;
    response.onAborted(() => {
      this.#isAborted = true;
      if (!this.#hasResponded) traffic.pending--;
      if (this.#onBody) traffic.endUpload(this);
    });
    const { requestId, traceparent, contentLength } = headers;
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

  /** The client went away: whatever is decided now would be sold to nobody. */
  get isAborted(): boolean {
    return this.#isAborted;
  }

  /** To be called when the synchronous part of the handler ends. */
  leaveHandler(): void {
    this.#isCorked = false;
  }

  respond(answer: PreparedResponse): void {
    if (this.#isAborted || this.#hasResponded) return;
    this.#hasResponded = true;
    this.#traffic.pending--;
    if (this.#isCorked) this.#write(answer);
    else this.#response.cork(() => this.#write(answer));
  }

  /**
   * Makes it a WebSocket: from here on it is no request any more. Never inside a cork of ours: when the WebSocket
   * comes to lie at the request's own address, the end of that cork takes it for the request, and may close it.
   */
  upgrade(carried: object, handshake: Handshake): void {
    if (this.#isAborted || this.#hasResponded) return;
    this.#hasResponded = true;
    this.#traffic.pending--;
    // It leaves the connections that the server counts, and will not be missed there when it closes.
    this.#traffic.connections--;
    const response = this.#response;
    const writeHead = () => {
      response.writeStatus('101 Switching Protocols');
      response.writeHeader('X-Request-Id', this.requestId);
    };
    if (this.#isCorked) writeHead();
    else response.cork(writeHead);
    const { key, protocol, extensions, context } = handshake;
    response.upgrade(carried, key, protocol, extensions, context);
  }

  /**
   * Collects the body and calls back once: with its bytes, which are there during that call only, or with what it is
   * refused for. What a client still sends after that is read and forgotten, so that it gets to see the answer. Without
   * a body it calls back at once.
   */
  readBody(onBody: (body: Buffer | BodyRefusal) => void): void {
    if (!this.#hasBody) {
      onBody(NO_BODY);
      return;
    }
    if (Number(this.#contentLength) > BODY_BYTES_MAX) {
      onBody('payload_too_large');
      return;
    }
    this.#onBody = onBody;
    this.#traffic.startUpload(this);
    this.#response.onData((chunk, isLast) => {
      if (!this.#onBody || this.#isAborted) return;
      this.#isCorked = true;
      this.#takePart(chunk, isLast);
      this.#isCorked = false;
    });
  }

  /** The body takes too long: the rest of it may never come. */
  giveUp(): void {
    this.#closesAfter = true;
    this.#endBody('overloaded');
  }

  #takePart(chunk: ArrayBuffer, isLast: boolean): void {
    // Its memory dies with the callback.
    const part = Buffer.from(chunk);
    if (this.#body.length + part.length > BODY_BYTES_MAX) {
      this.#endBody('payload_too_large');
    } else if (isLast) {
      this.#endBody(this.#body.length === 0 ? part : Buffer.concat([this.#body, part]));
    } else {
      this.#body = Buffer.concat([this.#body, part]);
    }
  }

  #endBody(result: Buffer | BodyRefusal): void {
    const onBody = this.#onBody;
    this.#onBody = undefined;
    this.#body = NO_BODY;
    this.#traffic.endUpload(this);
    onBody?.(result);
  }

  #write(answer: PreparedResponse): void {
    const response = this.#response;
    response.writeStatus(answer.status);
    response.writeHeader('Content-Type', answer.contentType);
    response.writeHeader('X-Request-Id', this.requestId);
    if (this.traceparent !== '') response.writeHeader('traceparent', this.traceparent);
    for (const [name, value] of answer.headers) response.writeHeader(name, value);
    response.end(answer.body, this.#closesAfter || this.#traffic.draining);
  }
}
