/** A TCP connection that sends bytes that no HTTP client would send, and keeps everything it receives. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 5;
/** A response that must not come would come within this time. */
const MORE_MS = 50;

export class RawConnection {
  received = '';
  isClosed = false;
  readonly #socket: Socket;

  static async open(port: number): Promise<RawConnection> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RawConnection(socket);
  }

  /** A slow sender: sends `first`, and then `next` once a second until the connection closes. */
  static async openSlow(port: number, first: string, next: string): Promise<RawConnection> {
    const connection = await RawConnection.open(port);
    connection.send(first);
    const timer = setInterval(() => {
      if (connection.isClosed) clearInterval(timer);
      else connection.send(next);
    }, 1_000);
    timer.unref();
    return connection;
  }

  private constructor(socket: Socket) {
    this.#socket = socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1');
    });
    socket.on('error', () => undefined); // The server is expected to cut connections.
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  send(bytes: string | Uint8Array): void {
    if (!this.#socket.destroyed) {
      this.#socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    }
  }

  /** The status of every response received so far, in order. */
  get statuses(): number[] {
    return [...this.received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  }

  /** Waits until the other side closes. False: it did not in time. */
  async untilClosed(timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!this.isClosed && performance.now() < deadline) await sleep(POLL_MS);
    return this.isClosed;
  }

  /** Waits until the connection is closed, or has that many responses and a moment to receive more. */
  async settle(responses = 1, timeoutMs = 5_000): Promise<this> {
    const deadline = performance.now() + timeoutMs;
    while (
      !this.isClosed &&
      this.statuses.filter((status) => status !== 100).length < responses &&
      performance.now() < deadline
    ) {
      await sleep(POLL_MS);
    }
    if (!this.isClosed) await sleep(MORE_MS);
    return this;
  }

  /** Stops reading. */
  pause(): void {
    this.#socket.pause();
  }

  /** By RST, which also leaves no port in TIME_WAIT. */
  destroy(): void {
    this.#socket.resetAndDestroy();
  }
}

/** Sends bytes on a new connection, and returns it after it settled. */
export async function sendRaw(
  port: number,
  bytes: string | Uint8Array,
  responses = 1,
  timeoutMs?: number,
): Promise<RawConnection> {
  const connection = await RawConnection.open(port);
  connection.send(bytes);
  await connection.settle(responses, timeoutMs);
  connection.destroy();
  return connection;
}
