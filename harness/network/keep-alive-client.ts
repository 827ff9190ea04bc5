/**
 * An HTTP client with one keep-alive connection. It reports what libraries hide: how much of a response had arrived
 * when the connection closed. It never retries.
 */
import { connect, type Socket } from 'node:net';
import { type Scope, use } from '../use.ts';

export interface RawResponse {
  status: number;
  /** By name, in lower case. */
  headers: Record<string, string>;
  body: string;
}

/** The connection closed, or could not be opened, before the response was complete. */
export class ConnectionClosed extends Error {
  readonly bytesReceived: number;

  constructor(bytesReceived: number, cause: Error | undefined) {
    super(`closed after ${bytesReceived} bytes: ${cause?.message ?? 'closed'}`, { cause });
    this.bytesReceived = bytesReceived;
  }
}

export interface RawRequest {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

export function useClient(scope: Scope, port: number): Promise<KeepAliveClient> {
  return use(scope, () => new KeepAliveClient(port));
}

/** A request with the header `Connection: close` is the only one on its connection. */
export class KeepAliveClient {
  readonly #port: number;
  #socket: Socket | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /** Rejects with `ConnectionClosed`. */
  request({ method = 'GET', path, headers = {}, body = '' }: RawRequest): Promise<RawResponse> {
    const head = [
      `${method} ${path} HTTP/1.1`,
      'Host: localhost',
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      ...(method === 'POST' ? [`Content-Length: ${Buffer.byteLength(body)}`] : []),
    ];
    return this.send(`${head.join('\r\n')}\r\n\r\n${body}`);
  }

  /** Sends raw bytes and resolves with the first response. Rejects with `ConnectionClosed`. */
  send(bytes: string): Promise<RawResponse> {
    const socket = this.#connected();
    return new Promise((resolve, reject) => {
      let text = '';
      let cause: Error | undefined;
      const finish = () => {
        socket.off('data', read);
        socket.off('close', closed);
        socket.off('error', failed);
      };
      const read = (chunk: Buffer) => {
        text += chunk.toString('latin1');
        const response = parse(text);
        if (!response) return;
        finish();
        if (response.headers.connection === 'close' || /^Connection: close\r$/im.test(bytes)) {
          this.close();
        }
        resolve(response);
      };
      const failed = (error: Error) => {
        cause = error;
      };
      const closed = () => {
        finish();
        reject(new ConnectionClosed(text.length, cause));
      };
      socket.on('data', read);
      socket.on('error', failed);
      socket.on('close', closed);
      socket.write(bytes);
    });
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #connected(): Socket {
    if (this.#socket) return this.#socket;
    const socket = connect(this.#port, '127.0.0.1');
    this.#socket = socket;
    socket.on('error', () => undefined); // A pending request handles it.
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    return socket;
  }
}

/** Undefined: the response is incomplete. */
function parse(text: string): RawResponse | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [statusLine, ...lines] = text.slice(0, end).split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const body = text.slice(end + 4);
  if (body.length < Number(headers['content-length'] ?? 0)) return undefined;
  return { status: Number(statusLine!.split(' ')[1]), headers, body };
}
