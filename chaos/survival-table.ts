/** What was survived where: a table of topologies and faults, from the recorded results. */
import type { codeVersions, machine } from '../harness/command/machine.ts';
import type { Durability } from './stack.ts';
import type { TopologyName } from './topologies/topology.ts';

/** A fault may hit nothing: the process has already ended, the link is unused, or the request is never sent. */
export interface FaultCount {
  planned: number;
  done: number;
}

/** A file in chaos/results. */
export interface ChaosResult {
  machine: ReturnType<typeof machine>;
  versions: ReturnType<typeof codeVersions> & { redis: string; postgres: string };
  topology: TopologyName;
  server: 'redis' | 'valkey';
  profile: Durability;
  seeds: { first: number; runs: number };
  buyersPerRun: number;
  runsAtOnce: number;
  seconds: number;
  runsWithoutViolation: number;
  violations: Record<string, number>;
  reservations: number;
  events: number;
  /** Acknowledged, not yet in PostgreSQL, and lost with all data of Redis: the documented loss window. */
  lostReservations: number;
  /** From the last fault and the last response until nothing was held and everything was in PostgreSQL. */
  restSeconds: { p50: number; max: number };
  faultsByKind: Record<string, FaultCount>;
  /** By names such as `kill hot-path` and `cut persister>redis`. */
  faults: Record<string, FaultCount>;
  responses: Record<string, number>;
}

const TOPOLOGY: Record<TopologyName, string> = {
  single: 'one server',
  sentinel: 'Sentinel',
  cluster: 'Cluster',
};
const TOPOLOGIES = Object.keys(TOPOLOGY);
const PROFILES: readonly Durability[] = ['replicated', 'safe', 'fast'];

const NONE = '–';

/** Each row counts the faults whose names match. */
export const ROWS: readonly (readonly [what: string, names: RegExp])[] = [
  ['hot path, persister or admin killed, frozen, restarted', /^(kill|pause|restart) (hot|per|adm)/],
  ['PostgreSQL killed, frozen, restarted', /^(kill|pause|restart) postgres/],
  ['Redis killed, frozen, restarted: the master', /^(kill|pause|restart) redis$/],
  ['Redis killed, frozen, restarted: a replica', /^(kill|pause|restart) redis-replica/],
  ['connection cut, refused, or open to nowhere', /^(cut|refuse|half-open) /],
  ['request or reply lost', /^lose-(request|reply) /],
  ['replica promoted while the master lives', /^hand-over /],
  ['the same without its consent, during a batch', /^demote /],
  ['master isolated with some of its clients', /^isolate /],
  ['slot of the sale moved', /^move-slot /],
  ['slow disk', /^slow-disk /],
  ['clock of the master set wrong', /^step-clock /],
  ['all of Redis lost, or its last two seconds', /^(flush|lose-disk|lose-tail) /],
  ['persister started on a copy of the database', /^copy-database /],
];

/** Markdown. */
export function survivalTable(results: readonly ChaosResult[]): string {
  const sorted = results.toSorted(
    (a, b) =>
      TOPOLOGIES.indexOf(a.topology) - TOPOLOGIES.indexOf(b.topology) ||
      PROFILES.indexOf(a.profile) - PROFILES.indexOf(b.profile) ||
      a.server.localeCompare(b.server),
  );
  const rows = [
    ['', ...sorted.map(headOf)],
    ['---', ...sorted.map(() => '--:')],
    ['runs that kept every promise', ...sorted.map(keptOf)],
    ['reservations', ...sorted.map(({ reservations }) => grouped(reservations))],
    [
      'acknowledged, and lost with Redis',
      ...sorted.map(({ lostReservations }) => grouped(lostReservations)),
    ],
    ...faultRows(sorted),
  ];
  return rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Without faults that no run had. */
function faultRows(results: readonly ChaosResult[]): string[][] {
  const rows = ROWS.map(([what, names]) => [
    what,
    ...results.map(({ faults }) => countOf(faults, names)),
  ]);
  return rows.filter(([, ...counts]) => counts.some((count) => count !== NONE));
}

function headOf({ topology, server, profile, versions }: ChaosResult): string {
  const version = server === 'redis' ? `Redis ${versions.redis}` : versions.redis;
  return `${TOPOLOGY[topology]}, ${version}, \`${profile}\``;
}

function keptOf({ runsWithoutViolation, seeds }: ChaosResult): string {
  return `${runsWithoutViolation} of ${seeds.runs}`;
}

function countOf(faults: ChaosResult['faults'], names: RegExp): string {
  const counts = Object.entries(faults).filter(([name]) => names.test(name));
  const done = counts.reduce((sum, [, count]) => sum + count.done, 0);
  return done === 0 ? NONE : grouped(done);
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
