/** A TCP proxy in front of a server, whose connections can be cut at the worst moment, or go dead without a word, or slow. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Scope, use } from '../use.ts';

export interface CuttableProxy {
  port: number;
  /** Lets the next request that has this text in it through, and cuts the connection when its reply comes. */
  loseReplyTo(text: string): Trap;
  /** Cuts the connection in the place of the next request that has this text in it. */
  loseRequestWith(text: string): Trap;
  /** Connections that have been cut or refused by one of these so far, or had something kept back. */
  readonly harmed: number;
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

/** What waits for a text, until it has come or another one is waited for. */
export interface Trap {
  readonly text: string;
  readonly hasCaught: boolean;
}

/** One client's connection: its two sockets live and die together, unless the proxy is stalled. */
interface Pair {
  client: Socket;
  upstream: Socket;
}

export function useCuttableProxy(
  scope: Scope,
  target: { host: string; port: number },
): Promise<CuttableProxy> {
  return use(scope, () => startCuttableProxy(target));
}

export async function startCuttableProxy(target: {
  host: string;
  port: number;
}): Promise<CuttableProxy> {
  const pairs = new Set<Pair>();
  /** Pairs of which a side went while nothing passed: the other side learns of it when it heals. */
  const broken = new Set<Pair>();
  let state: 'open' | 'stalled' | 'refusing' = 'open';
  let replyTrap: { text: string; hasCaught: boolean } | undefined;
  let requestTrap: { text: string; hasCaught: boolean } | undefined;
  let delayMs = 0;
  let harmed = 0;
  const cut = (pair: Pair) => {
    pairs.delete(pair);
    broken.delete(pair);
    pair.client.destroy();
    pair.upstream.destroy();
  };
  const cutAll = () => {
    harmed += pairs.size;
    for (const pair of pairs) cut(pair);
  };
  const server = createServer((client) => {
    if (state === 'refusing') {
      client.on('error', () => undefined);
      client.destroy();
      harmed += 1;
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
    let caught: typeof replyTrap;
    client.on('data', (chunk) => {
      if (requestTrap && chunk.includes(requestTrap.text, 0, 'latin1')) {
        requestTrap.hasCaught = true;
        requestTrap = undefined;
        cutAll();
        return;
      }
      // Once asked it stays so: the next request may be here before the reply.
      if (replyTrap && chunk.includes(replyTrap.text, 0, 'latin1')) caught ??= replyTrap;
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (caught) {
        caught.hasCaught = true;
        if (replyTrap === caught) replyTrap = undefined;
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
      replyTrap = { text, hasCaught: false };
      return replyTrap;
    },
    loseRequestWith: (text) => {
      requestTrap = { text, hasCaught: false };
      return requestTrap;
    },
    delayReplies: (ms) => {
      delayMs = ms;
    },
    get harmed() {
      return harmed;
    },
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
      if (state === 'stalled') {
        harmed += [...pairs].filter((pair) => broken.has(pair) || hasKeptBack(pair)).length;
      }
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

/** What came while nobody read lies in the sockets' buffers. */
function hasKeptBack({ client, upstream }: Pair): boolean {
  return client.readableLength > 0 || upstream.readableLength > 0;
}

function pause({ client, upstream }: Pair): void {
  client.pause();
  upstream.pause();
}
