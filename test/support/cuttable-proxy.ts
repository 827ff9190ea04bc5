/** A TCP proxy in front of a server, whose connections can be cut at the worst moment, or go dead without a word, or slow. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface CuttableProxy {
  port: number;
  /** Lets the next request that has this text in it through, and cuts the connection when its reply comes. */
  loseReplyTo(text: string): void;
  /** Cuts the connection in the place of the next request that has this text in it. */
  loseRequestWith(text: string): void;
  /** How often these came to happen. */
  readonly lost: { readonly replies: number; readonly requests: number };
  /** Each reply takes so much longer from now on. */
  delayReplies(delayMs: number): void;
  /** Cuts every connection now. */
  cutAll(): void;
  /** Half-open: connections stay and new ones are taken, but nothing passes, not even that a side has gone. */
  stall(): void;
  /** Cuts every connection, and new ones as soon as they come. */
  refuse(): void;
  /** Ends `stall`, and lets what was kept back flow on; ends `refuse`. */
  heal(): void;
  close(): Promise<void>;
}

/** One client's connection: its two sockets live and die together, unless the proxy is stalled. */
interface Pair {
  client: Socket;
  upstream: Socket;
}

export async function startCuttableProxy(target: {
  host: string;
  port: number;
}): Promise<CuttableProxy> {
  const pairs = new Set<Pair>();
  /** Pairs of which a side went while nothing passed: the other side learns of it when it heals. */
  const broken = new Set<Pair>();
  let state: 'open' | 'stalled' | 'refusing' = 'open';
  let losesReplyTo: string | undefined;
  let losesRequestWith: string | undefined;
  let delayMs = 0;
  const lost = { replies: 0, requests: 0 };
  const cut = (pair: Pair) => {
    pairs.delete(pair);
    broken.delete(pair);
    pair.client.destroy();
    pair.upstream.destroy();
  };
  const cutAll = () => {
    for (const pair of pairs) cut(pair);
  };
  const server = createServer((client) => {
    if (state === 'refusing') {
      client.on('error', () => undefined);
      client.destroy();
      return;
    }
    const pair = { client, upstream: connect(target.port, target.host) };
    const { upstream } = pair;
    pairs.add(pair);
    for (const socket of [client, upstream]) {
      socket.on('error', () => undefined); // A cut connection is what this proxy is for.
      socket.on('close', () => {
        if (state === 'stalled' && pairs.has(pair)) broken.add(pair);
        else cut(pair);
      });
    }
    let wasAsked = false;
    client.on('data', (chunk) => {
      if (losesRequestWith !== undefined && chunk.includes(losesRequestWith, 0, 'latin1')) {
        losesRequestWith = undefined;
        lost.requests += 1;
        cutAll();
        return;
      }
      // Once asked it stays so: the next request may be here before the reply.
      wasAsked ||= losesReplyTo !== undefined && chunk.includes(losesReplyTo, 0, 'latin1');
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (wasAsked) {
        losesReplyTo = undefined;
        lost.replies += 1;
        cutAll();
      } else if (delayMs > 0) {
        setTimeout(() => client.write(chunk), delayMs);
      } else {
        client.write(chunk);
      }
    });
    if (state === 'stalled') pause(pair);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    loseReplyTo: (text) => {
      losesReplyTo = text;
    },
    loseRequestWith: (text) => {
      losesRequestWith = text;
    },
    delayReplies: (ms) => {
      delayMs = ms;
    },
    lost,
    cutAll,
    stall: () => {
      state = 'stalled';
      for (const pair of pairs) pause(pair);
    },
    refuse: () => {
      state = 'refusing';
      cutAll();
    },
    heal: () => {
      state = 'open';
      for (const pair of broken) cut(pair);
      for (const { client, upstream } of pairs) {
        client.resume();
        upstream.resume();
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cutAll();
      }),
  };
}

function pause({ client, upstream }: Pair): void {
  client.pause();
  upstream.pause();
}
