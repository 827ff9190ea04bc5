/**
 * The proxies between the processes of a run. A link separates one pair of processes, or one process from all Redis
 * servers and sentinels, while all others continue.
 */
import { type CuttableProxy, startCuttableProxy } from '../harness/network/cuttable-proxy.ts';
import { ENGINE_PROCESSES, type EngineProcess, LINKS, type LinkName } from './faults/schedule.ts';
import type { Topology } from './topologies/topology.ts';

const HOST = '127.0.0.1';

/** What faults do with a link. */
export type Link = Pick<
  CuttableProxy,
  | 'loseReplyTo'
  | 'loseRequestWith'
  | 'onRequestWith'
  | 'harmed'
  | 'cutAll'
  | 'stall'
  | 'refuse'
  | 'heal'
>;

export interface LinkTargets {
  redis: Pick<Topology, 'ports'>;
  postgresPort: number;
  portOf: ReadonlyMap<EngineProcess, number>;
}

export class Links {
  /** By the port at which the process at the start of the link finds its target. */
  readonly #proxies: ReadonlyMap<LinkName, ReadonlyMap<number, CuttableProxy>>;
  /** Those that `separate` has stalled. They stay so when a fault of their link ends. */
  readonly #separated = new Set<CuttableProxy>();

  private constructor(proxies: ReadonlyMap<LinkName, ReadonlyMap<number, CuttableProxy>>) {
    this.#proxies = proxies;
  }

  static async open({ redis, postgresPort, portOf }: LinkTargets): Promise<Links> {
    const targetsOf = (name: LinkName): ReadonlyMap<number, number> => {
      const target = name.slice(name.indexOf('>') + 1);
      if (target === 'redis') return redis.ports;
      const port = target === 'postgres' ? postgresPort : portOf.get(target as EngineProcess)!;
      return new Map([[port, port]]);
    };
    const links = new Map<LinkName, Map<number, CuttableProxy>>();
    for (const name of LINKS) {
      const proxies = new Map<number, CuttableProxy>();
      links.set(name, proxies);
      for (const [announced, port] of targetsOf(name))
        proxies.set(announced, await startCuttableProxy({ host: HOST, port }));
    }
    return new Links(links);
  }

  /** `announcedPort`: only the part of the link that leads to this Redis server. */
  link(name: LinkName, announcedPort?: number): Link {
    const proxies = this.#proxies.get(name)!;
    const chosen = announcedPort === undefined ? proxies.values() : [proxies.get(announcedPort)!];
    return bundle([...chosen], this.#separated);
  }

  /** The ports of a link's proxies, by the port at which the process finds its target. */
  portsOf(name: LinkName): ReadonlyMap<number, number> {
    const proxies = this.#proxies.get(name) ?? [];
    return new Map([...proxies].map(([announced, { port }]) => [announced, port]));
  }

  /** The only port of a link to one process. */
  portOf(name: LinkName): number | undefined {
    return [...this.portsOf(name).values()][0];
  }

  /** Leaves some processes with this Redis server alone, and the others with all other servers. */
  separate(announcedPort: number, processes: ReadonlySet<EngineProcess>): void {
    for (const name of ENGINE_PROCESSES) {
      const isInside = processes.has(name);
      for (const [port, proxy] of this.#proxies.get(`${name}>redis`)!)
        if ((port === announcedPort) !== isInside) {
          this.#separated.add(proxy);
          proxy.stall();
        }
    }
  }

  heal(): void {
    this.#separated.clear();
    for (const proxy of this.#all()) proxy.heal();
  }

  /** Ends `separate`. */
  healRedis(): void {
    this.#separated.clear();
    for (const name of ENGINE_PROCESSES) this.link(`${name}>redis`).heal();
  }

  async close(): Promise<void> {
    await Promise.all(this.#all().map((proxy) => proxy.close()));
  }

  #all(): CuttableProxy[] {
    return [...this.#proxies.values()].flatMap((proxies) => [...proxies.values()]);
  }
}

/** Several proxies as one link. A trap is set in each of them. */
function bundle(proxies: readonly CuttableProxy[], separated: ReadonlySet<CuttableProxy>): Link {
  const trapped = (
    text: string,
    set: (proxy: CuttableProxy) => ReturnType<Link['loseReplyTo']>,
  ): ReturnType<Link['loseReplyTo']> => {
    const traps = proxies.map(set);
    return {
      text,
      get hasCaught() {
        return traps.some(({ hasCaught }) => hasCaught);
      },
    };
  };
  const each = (act: (proxy: CuttableProxy) => void) => () => {
    for (const proxy of proxies) act(proxy);
  };
  return {
    loseReplyTo: (text) => trapped(text, (proxy) => proxy.loseReplyTo(text)),
    loseRequestWith: (text) => trapped(text, (proxy) => proxy.loseRequestWith(text)),
    onRequestWith: (text, callback) => each((proxy) => proxy.onRequestWith(text, callback))(),
    get harmed() {
      return proxies.reduce((sum, { harmed }) => sum + harmed, 0);
    },
    cutAll: each((proxy) => proxy.cutAll()),
    stall: each((proxy) => proxy.stall()),
    refuse: each((proxy) => proxy.refuse()),
    heal: each((proxy) => (separated.has(proxy) ? proxy.stall() : proxy.heal())),
  };
}
