/**
 * The network between the Redis servers of a run. Each server sends from a loopback address of its own, and the others
 * and the sentinels reach it through proxies, so that a fault can isolate it from them.
 */
import { type CuttableProxy, startCuttableProxy } from '../../harness/network/cuttable-proxy.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const HOST = '127.0.0.1';

export interface Peer {
  /** That the server listens on. */
  readonly port: number;
  readonly busPort: number;
  /** At which the others find it. */
  readonly announcedPort: number;
  readonly announcedBusPort: number;
  /** From which it sends. */
  readonly address: string;
}

export class PeerNetwork {
  readonly #proxies = new Map<Peer, CuttableProxy[]>();

  async add(): Promise<Peer> {
    const [port, busPort] = (await findFreePorts(2)) as [number, number];
    const [toServer, toBus] = await Promise.all(
      [port, busPort].map((target) => startCuttableProxy({ host: HOST, port: target })),
    );
    const peer: Peer = {
      port,
      busPort,
      announcedPort: toServer!.port,
      announcedBusPort: toBus!.port,
      address: `127.0.0.${11 + this.#proxies.size}`,
    };
    this.#proxies.set(peer, [toServer!, toBus!]);
    return peer;
  }

  isolate(isolated: Peer): void {
    for (const [peer, proxies] of this.#proxies) {
      for (const proxy of proxies) {
        if (peer === isolated) proxy.stall();
        else proxy.stallFrom(isolated.address);
      }
    }
  }

  heal(): void {
    for (const proxy of this.#all()) proxy.heal();
  }

  async close(): Promise<void> {
    await Promise.all(this.#all().map((proxy) => proxy.close()));
  }

  #all(): CuttableProxy[] {
    return [...this.#proxies.values()].flat();
  }
}
