/**
 * One request and its answer on uWebSockets.js, with the rules of that library kept in this one place:
 * `onAborted` is registered before anything else; what the request says is copied while it is there, for it dies
 * with the handler; after an abort nothing is written; what is written later is corked.
 */
import type { HttpRequest, HttpResponse, us_socket_context_t } from 'uWebSockets.js';
import { customAlphabet } from 'nanoid';
import { BODY_BYTES_MAX, REQUEST_ID, TRACEPARENT } from '../domain/identifiers.ts';
import type { Answer } from './answers.ts';
import type { Traffic, Upload } from './traffic.ts';

/** What a WebSocket's opening takes from its request. */
export interface Handshake {
  key: string;
  /** Empty: none. */
  protocol: string;
  extensions: string;
  context: us_socket_context_t;
}

export type BodyRefusal = 'too_long' | 'too_slow';

const PROCESS_TAG = customAlphabet('abcdefghijklmnopqrstuvwxyz0123456789', 10)();
let requestCount = 0;

/**
 * Whether others may see another end of this request than we do: a length said more than once or left empty, a
 * transfer coding other than `chunked` alone, which these versions of uWebSockets.js read as if it were. A proxy that
 * reads it differently would let a second request be smuggled in. Such a connection is closed unanswered: an answer
 * would leave the rest of it to be parsed.
 */
export function isAmbiguous(request: HttpRequest): boolean {
  let lengths = 0;
  request.forEach((name, value) => {
    if (name === 'content-length') lengths += value === '' ? 2 : 1;
    else if (name === 'transfer-encoding') lengths += value.toLowerCase() === 'chunked' ? 1 : 2;
  });
  return lengths > 1;
}

export class Exchange {
  readonly requestId: string;
  readonly traceparent: string;
  readonly startedAt = performance.now();
  readonly #response: HttpResponse;
  readonly #traffic: Traffic;
  #isAborted = false;
  #isAnswered = false;
  #isInHandler = true;
  #closesAfter = false;
  #upload: Upload | undefined;

  constructor(response: HttpResponse, request: HttpRequest, traffic: Traffic) {
    this.#response = response;
    this.#traffic = traffic;
    traffic.pending++;
    response.onAborted(() => {
      this.#isAborted = true;
      if (!this.#isAnswered) traffic.pending--;
      this.#endUpload();
    });
    const requestId = request.getHeader('x-request-id');
    this.requestId =
      requestId !== '' && REQUEST_ID.test(requestId)
        ? requestId
        : `${PROCESS_TAG}-${(++requestCount).toString(36)}`;
    const traceparent = request.getHeader('traceparent');
    this.traceparent = traceparent !== '' && TRACEPARENT.test(traceparent) ? traceparent : '';
  }

  /** The client went away: whatever is decided now would be sold to nobody. */
  get isAborted(): boolean {
    return this.#isAborted;
  }

  /** To be called when the synchronous part of the handler ends. */
  leaveHandler(): void {
    this.#isInHandler = false;
  }

  answer(answer: Answer): void {
    if (this.#isAborted || this.#isAnswered) return;
    this.#isAnswered = true;
    this.#traffic.pending--;
    if (this.#isInHandler) this.#write(answer);
    else this.#response.cork(() => this.#write(answer));
  }

  /**
   * Makes it a WebSocket: from here on it is no request any more. Never inside a cork of ours: when the WebSocket
   * comes to lie at the request's own address, the end of that cork takes it for the request, and may close it.
   */
  upgrade(carried: object, handshake: Handshake): void {
    if (this.#isAborted || this.#isAnswered) return;
    this.#isAnswered = true;
    this.#traffic.pending--;
    // It leaves the connections that the server counts, and will not be missed there when it closes.
    this.#traffic.connections--;
    const response = this.#response;
    const writeHead = () => {
      response.writeStatus('101 Switching Protocols');
      response.writeHeader('X-Request-Id', this.requestId);
    };
    if (this.#isInHandler) writeHead();
    else response.cork(writeHead);
    const { key, protocol, extensions, context } = handshake;
    response.upgrade(carried, key, protocol, extensions, context);
  }

  /**
   * Collects the body and calls back once: with its bytes, as soon as it proves `too_long`, or when it proves
   * `too_slow`. What a client still sends after that is read and forgotten, so that it gets to see the answer.
   */
  readBody(declaredLength: string, onBody: (body: Buffer | BodyRefusal) => void): void {
    if (Number(declaredLength) > BODY_BYTES_MAX) {
      onBody('too_long');
      return;
    }
    let body: Buffer | undefined;
    let isDone = false;
    const finish = (result: Buffer | BodyRefusal) => {
      isDone = true;
      body = undefined;
      this.#endUpload();
      onBody(result);
    };
    const giveUp = () => {
      // The rest of it may never come.
      this.#closesAfter = true;
      finish('too_slow');
    };
    this.#upload = { since: this.startedAt, giveUp };
    this.#traffic.startUpload(this.#upload);
    this.#response.onData((chunk, isLast) => {
      if (isDone || this.#isAborted) return;
      const length = (body?.length ?? 0) + chunk.byteLength;
      if (length > BODY_BYTES_MAX) {
        finish('too_long');
      } else {
        // The chunk's memory dies with this callback, and the body may be needed after it: copy.
        const copy = Buffer.from(new Uint8Array(chunk));
        body = body === undefined ? copy : Buffer.concat([body, copy]);
        if (isLast) finish(body);
      }
    });
  }

  #endUpload(): void {
    if (this.#upload) this.#traffic.endUpload(this.#upload);
    this.#upload = undefined;
  }

  #write(answer: Answer): void {
    const response = this.#response;
    response.writeStatus(answer.status);
    response.writeHeader('Content-Type', answer.contentType);
    response.writeHeader('X-Request-Id', this.requestId);
    if (this.traceparent !== '') response.writeHeader('traceparent', this.traceparent);
    for (const [name, value] of answer.headers) response.writeHeader(name, value);
    response.end(answer.body, this.#closesAfter || this.#traffic.draining);
  }
}
