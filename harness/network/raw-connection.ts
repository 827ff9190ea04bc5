/** A TCP connection that says what no HTTP client would, and keeps all that it hears. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 5;

export class RawConnection {
  received = '';
  isClosed = false;
  readonly #socket: Socket;

  static async open(port: number): Promise<RawConnection> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RawConnection(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1');
    });
    socket.on('error', () => undefined); // Being cut off is what this is for.
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  send(bytes: string | Uint8Array): void {
    if (!this.#socket.destroyed) {
      this.#socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    }
  }

  /** Of every answer received so far, in order. */
  get statuses(): number[] {
    return [...this.received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  }

  /** Until the other side closes; false: it did not in time. */
  async untilClosed(timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!this.isClosed && performance.now() < deadline) await sleep(POLL_MS);
    return this.isClosed;
  }

  /** Until it is closed, or so many answers have been received and no more come for a moment. */
  async settle(answers = 1, timeoutMs = 5_000): Promise<this> {
    const deadline = performance.now() + timeoutMs;
    while (
      !this.isClosed &&
      this.statuses.filter((status) => status !== 100).length < answers &&
      performance.now() < deadline
    ) {
      await sleep(POLL_MS);
    }
    if (!this.isClosed) await sleep(50);
    return this;
  }

  /** Reads no more of what comes. */
  pause(): void {
    this.#socket.pause();
  }

  /** Without ceremony, as who means no good leaves; it also leaves no port waiting on this side. */
  destroy(): void {
    this.#socket.resetAndDestroy();
  }
}

/** Says it on a connection of its own, and gives back what was received until it settled. */
export async function sendRaw(
  port: number,
  bytes: string | Uint8Array,
  answers = 1,
  timeoutMs?: number,
): Promise<RawConnection> {
  const connection = await RawConnection.open(port);
  connection.send(bytes);
  await connection.settle(answers, timeoutMs);
  connection.destroy();
  return connection;
}
