/**
 * One client and its one connection, kept open from request to request, byte by byte: it tells what libraries hide, how
 * much of an answer had come when a connection broke. It sends nothing twice by itself.
 */
import { connect, type Socket } from 'node:net';

export interface Heard {
  status: number;
  /** By name, in lower case. */
  headers: Record<string, string>;
  body: string;
}

/** The connection was closed, or could not be made, before the answer was whole. */
export class Broken extends Error {
  readonly bytesHeard: number;

  constructor(bytesHeard: number, cause: Error | undefined) {
    super(`broken after ${bytesHeard} bytes: ${cause?.message ?? 'closed'}`, { cause });
    this.bytesHeard = bytesHeard;
  }
}

export interface Asked {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

/** With a header `Connection: close` a request has its connection to itself. */
export class KeepAliveClient {
  readonly #port: number;
  #socket: Socket | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /** Rejects with `Broken`. */
  request({ method = 'GET', path, headers = {}, body = '' }: Asked): Promise<Heard> {
    const head = [
      `${method} ${path} HTTP/1.1`,
      'Host: localhost',
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      ...(method === 'POST' ? [`Content-Length: ${Buffer.byteLength(body)}`] : []),
    ];
    return this.send(`${head.join('\r\n')}\r\n\r\n${body}`);
  }

  /** Bytes as they are; resolves with the first answer that comes. Rejects with `Broken`. */
  send(bytes: string): Promise<Heard> {
    const socket = this.#connected();
    return new Promise((resolve, reject) => {
      let text = '';
      let cause: Error | undefined;
      const finish = () => {
        socket.off('data', read);
        socket.off('close', broken);
        socket.off('error', failed);
      };
      const read = (chunk: Buffer) => {
        text += chunk.toString('latin1');
        const heard = parse(text);
        if (!heard) return;
        finish();
        if (heard.headers.connection === 'close' || /^Connection: close\r$/im.test(bytes)) {
          this.close();
        }
        resolve(heard);
      };
      const failed = (error: Error) => {
        cause = error;
      };
      const broken = () => {
        finish();
        reject(new Broken(text.length, cause));
      };
      socket.on('data', read);
      socket.on('error', failed);
      socket.on('close', broken);
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
    socket.on('error', () => undefined); // Whoever waits for an answer hears of it.
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    return socket;
  }
}

/** Undefined: there is more to come. */
function parse(text: string): Heard | undefined {
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
