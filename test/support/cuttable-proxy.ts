/** A TCP proxy in front of a server, whose connections can be cut at the worst moment. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface CuttableProxy {
  port: number;
  /** Lets the next request that has this text in it through, and cuts the connection when its reply comes. */
  loseReplyTo(text: string): void;
  /** Cuts every connection now. */
  cutAll(): void;
  close(): Promise<void>;
}

export async function startCuttableProxy(target: {
  host: string;
  port: number;
}): Promise<CuttableProxy> {
  const sockets = new Set<Socket>();
  let losesReplyTo: string | undefined;
  const cutAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((client) => {
    const upstream = connect(target.port, target.host);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined); // A cut connection is what this proxy is for.
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    let wasAsked = false;
    client.on('data', (chunk) => {
      // Once asked it stays so: the next request may be here before the reply.
      wasAsked ||= losesReplyTo !== undefined && chunk.includes(losesReplyTo, 0, 'latin1');
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (wasAsked) {
        losesReplyTo = undefined;
        cutAll();
      } else {
        client.write(chunk);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    loseReplyTo: (text) => {
      losesReplyTo = text;
    },
    cutAll,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cutAll();
      }),
  };
}
