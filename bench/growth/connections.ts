/**
 * The cost of a refusal by open connections, all of which send requests. Each connection has its own memory in kernel
 * and server, so a new request finds none of it in a cache. Opening the connections is included.
 *
 * The limits of the machine are open files per process, and ports from one address to another port. As root:
 *
 *   ulimit -Hn 200000; sysctl net.ipv4.ip_local_port_range='1024 65535'
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { metric } from '../../harness/engine/metrics.ts';
import { writeBuyers } from '../load/buyers.ts';
import { buyTemplate } from '../load/wrk.ts';
import { countOutcomes, ENGINE, startEngine } from '../measure/contestants.ts';
import { expect } from '../measure/scenario.ts';
import {
  BUYERS,
  expectOnlySoldOut,
  MANY_CONNECTIONS,
  MANY_SECONDS_MIN,
  OTHER_FILES,
  openFilesMax,
  soldOutSale,
} from '../scenarios/refusal.ts';
import { costOf } from './cost.ts';
import { growth } from './points.ts';
import { REFUSED_HERE } from './stock.ts';

const WANTED = [100, 1_000, 10_000, 100_000];
/** Ports that other programs on this machine may need. */
const OTHER_PORTS = 1_000;

export const connections = growth({
  name: 'connections',
  title: 'Refusals by open connections',
  by: 'connections',
  points: () => reachable(WANTED, connectionsMax()),
  testbed: { apart: true },
  settings: { buyers: BUYERS },
  ratios: [
    { what: 'refusals per second', metric: 'perSecond' },
    { what: 'hot path CPU per refusal', metric: 'serverMicros' },
  ],
  async begin(testbed, options) {
    const { file } = await writeBuyers(join(testbed.directory, 'buyers'), {
      name: 'late',
      count: BUYERS,
      purchasesEach: 1,
    });
    const template = buyTemplate(await soldOutSale(testbed));
    const hotPath = await startEngine(testbed);
    return async (count) => {
      const seconds =
        count < MANY_CONNECTIONS ? options.seconds : Math.max(options.seconds, MANY_SECONDS_MIN);
      const outcomesBefore = await countOutcomes(hotPath);
      const crowd = { hotPath, template, file, seconds, connections: count, repeats: true };
      const hereBefore = await metric(hotPath, REFUSED_HERE);
      const { requests, refused, figures } = await costOf(testbed, [crowd]);
      expect(requests > 0 && refused === requests, `${refused} of ${requests} were refused`);
      expectOnlySoldOut(ENGINE, outcomesBefore, await countOutcomes(hotPath), { requests });
      const here = (await metric(hotPath, REFUSED_HERE)) - hereBefore;
      return { ...figures, localShare: Math.min(1, here / requests) };
    };
  },
});

/** The wanted counts that the machine allows. If some are beyond its limit, the limit replaces them. */
export function reachable(wanted: readonly number[], most: number): number[] {
  const thousands = Math.floor(most / 1_000) * 1_000;
  const within = wanted.filter((count) => count <= most);
  const isShort = within.length < wanted.length && thousands > (within.at(-1) ?? 0);
  return isShort ? [...within, thousands] : within;
}

function connectionsMax(): number {
  const range = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
  const [low, high] = range.trim().split(/\s+/).map(Number) as [number, number];
  // A released port is not reused immediately, so each load finds the ports of the previous one still taken.
  return Math.min(openFilesMax() - OTHER_FILES, Math.floor((high - low + 1) / 2) - OTHER_PORTS);
}
