/** A TCP proxy in front of a server. It can cut or stall connections, also at a chosen moment, and delay replies. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Scope, use } from '../use.ts';

export interface CuttableProxy {
  port: number;
  /** Forwards the next request with this text, and cuts all connections when its reply arrives. */
  loseReplyTo(text: string): Trap;
  /** Cuts all connections instead of forwarding the next request with this text. */
  loseRequestWith(text: string): Trap;
  /** Calls back when the next request with this text arrives, just before it is forwarded. */
  onRequestWith(text: string, callback: () => void): void;
  /** The number of connections that were cut, refused, or had data held back. */
  readonly harmed: number;
  /** The number of connections that a stall has broken or holds data of. */
  readonly heldBack: number;
  /** Delays each reply from now on. */
  delayReplies(delayMs: number): void;
  /** Cuts every connection now. */
  cutAll(): void;
  /** Half-open: connections stay and new ones are accepted, but nothing is forwarded, not even a close. */
  stall(): void;
  /** The same for the connections of one client address only. */
  stallFrom(address: string): void;
  /** Nothing passes any more over the connections of now, for good; new ones work. */
  strand(): void;
  /** Cuts every connection, and new ones immediately. */
  refuse(): void;
  /** Ends all stalls, and forwards the data that was held back. Ends `refuse`. */
  heal(): void;
  close(): Promise<void>;
}

/** Waits for a text, until it arrives or another trap replaces this one. */
interface Trap {
  readonly text: string;
  readonly hasCaught: boolean;
}

/** The two sockets of one client's connection. Both close together, unless the proxy is stalled. */
interface Pair {
  client: Socket;
  upstream: Socket;
  /** Of the client. */
  address: string | undefined;
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
  /** Pairs with a side that closed during a stall. The other side closes when the proxy heals. */
  const broken = new Set<Pair>();
  const stranded = new Set<Pair>();
  let state: 'open' | 'stalled' | 'refusing' = 'open';
  const stalledAddresses = new Set<string | undefined>();
  const isStalled = ({ address }: Pair) => state === 'stalled' || stalledAddresses.has(address);
  let watch: { text: string; callback: () => void } | undefined;
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
  const heldBack = () => [...pairs].filter((pair) => broken.has(pair) || hasHeldBack(pair)).length;
  const server = createServer((client) => {
    if (state === 'refusing') {
      client.on('error', () => undefined);
      client.destroy();
      harmed += 1;
      return;
    }
    const pair: Pair = {
      client,
      upstream: connect(target.port, target.host),
      address: client.remoteAddress,
    };
    const { upstream } = pair;
    pairs.add(pair);
    for (const socket of [client, upstream]) {
      socket.on('error', () => undefined); // Connections are cut on purpose.
      socket.on('close', () => {
        if (isStalled(pair) && pairs.has(pair)) broken.add(pair);
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
      if (watch && chunk.includes(watch.text, 0, 'latin1')) {
        const { callback } = watch;
        watch = undefined;
        callback();
      }
      // It stays caught: the next request may arrive before the reply.
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
    if (isStalled(pair)) pause(pair);
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
    onRequestWith: (text, callback) => {
      watch = { text, callback };
    },
    delayReplies: (ms) => {
      delayMs = ms;
    },
    get harmed() {
      return harmed;
    },
    get heldBack() {
      return heldBack();
    },
    cutAll,
    stall: () => {
      state = 'stalled';
      for (const pair of pairs) pause(pair);
    },
    stallFrom: (address) => {
      stalledAddresses.add(address);
      for (const pair of pairs) if (pair.address === address) pause(pair);
    },
    strand: () => {
      for (const pair of pairs) {
        pairs.delete(pair);
        stranded.add(pair);
        pause(pair);
      }
    },
    refuse: () => {
      state = 'refusing';
      cutAll();
    },
    heal: () => {
      if (state === 'stalled' || stalledAddresses.size > 0) harmed += heldBack();
      state = 'open';
      stalledAddresses.clear();
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
        for (const pair of stranded) cut(pair);
      }),
  };
}

/** Data that arrived while the sockets were paused is in their buffers. */
function hasHeldBack({ client, upstream }: Pair): boolean {
  return client.readableLength > 0 || upstream.readableLength > 0;
}

function pause({ client, upstream }: Pair): void {
  client.pause();
  upstream.pause();
}
