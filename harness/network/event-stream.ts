/** A client of Server-Sent Events that keeps what it receives. */
import { once } from 'node:events';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { http } from '../../src/process/node-http.ts';
import { type Scope, use } from '../use.ts';

/** One event. Its data is parsed when it is read, because a test may have a thousand streams. */
class StreamEvent {
  readonly event: string;
  readonly #text: string;

  constructor(lines: string) {
    const [event = '', text = ''] = lines
      .split('\n')
      .map((line) => line.slice(line.indexOf(': ') + 2));
    this.event = event;
    this.#text = text;
  }

  // Any JSON: the test asserts on it.
  // oxlint-disable-next-line typescript/no-explicit-any
  get data(): any {
    return JSON.parse(this.#text);
  }
}

export class EventStream {
  readonly events: StreamEvent[] = [];
  /** Whether the server has ended it. */
  isEnded = false;
  readonly #request: ClientRequest;
  readonly #response: IncomingMessage;
  #rest = '';

  constructor(request: ClientRequest, response: IncomingMessage) {
    this.#request = request;
    this.#response = response;
    response.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    response.on('end', () => {
      this.isEnded = true;
    });
    response.on('error', () => undefined);
  }

  get status(): number {
    return this.#response.statusCode!;
  }

  get headers(): IncomingHttpHeaders {
    return this.#response.headers;
  }

  /** The body of a response that is no stream. */
  get body(): string {
    return this.#rest;
  }

  /** The data of the last event. */
  get last(): StreamEvent['data'] {
    return this.events.at(-1)?.data;
  }

  close(): void {
    this.#request.destroy();
  }

  #take(text: string): void {
    const parts = (this.#rest + text).split('\n\n');
    this.#rest = parts.pop()!;
    for (const part of parts) this.events.push(new StreamEvent(part));
  }
}

/** Over a connection of its own. Resolves with the head of the response; with its body too if it is no stream. */
export function useEventStream(
  scope: Scope,
  url: string,
  headers: Record<string, string>,
): Promise<EventStream> {
  return use(scope, async () => {
    const request = http.get(url, { headers, agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const stream = new EventStream(request, response);
    if (stream.status !== 200) await once(response, 'end');
    return stream;
  });
}
