/** A TCP proxy that records which side of each connection closed first. It forwards data and closes without a delay. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Scope, use } from '../use.ts';

export interface ClosingRecorder {
  readonly port: number;
  /** Connections that are open, and on which a client has sent `text`. */
  readonly open: number;
  readonly closedByClient: number;
  readonly closedByServer: number;
  close(): Promise<void>;
}

/** Only connections on which a client has sent `text` count. */
export function useClosingRecorder(
  scope: Scope,
  target: { port: number; text: string },
): Promise<ClosingRecorder> {
  return use(scope, () => startClosingRecorder(target));
}

async function startClosingRecorder(target: {
  port: number;
  text: string;
}): Promise<ClosingRecorder> {
  const sockets = new Set<Socket>();
  const counted = new Set<Socket>();
  const closedBy = { client: 0, server: 0 };
  const server = createServer((client) => {
    const upstream = connect(target.port, '127.0.0.1');
    const closes = (by: keyof typeof closedBy) => {
      if (counted.delete(client)) closedBy[by]++;
      client.destroy();
      upstream.destroy();
    };
    for (const [socket, side] of [
      [client, 'client'],
      [upstream, 'server'],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => closes(side));
      socket.on('end', () => closes(side));
      socket.on('close', () => sockets.delete(socket));
    }
    client.on('data', (chunk) => {
      if (chunk.includes(target.text, 0, 'latin1')) counted.add(client);
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => client.write(chunk));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get open() {
      return counted.size;
    },
    get closedByClient() {
      return closedBy.client;
    },
    get closedByServer() {
      return closedBy.server;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
