/** What was survived where: a table of topologies and faults, from the recorded results. */
import type { codeVersions, machine } from '../harness/command/machine.ts';
import type { Durability } from './stack.ts';
import type { TopologyName } from './topologies/topology.ts';

/** A fault may hit nothing: the process has already ended, the link is unused, or the request is never sent. */
export interface FaultCount {
  planned: number;
  done: number;
  /** How often another server became the master meanwhile. Absent: never, or the record is older than this count. */
  replaced?: number;
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
/** The date in an ISO time. */
const DATE_LENGTH = 10;

/** Each row counts the faults whose names match: how often they took effect, or how often the master was replaced. */
export const ROWS: readonly (readonly [
  what: string,
  names: RegExp,
  counts?: 'done' | 'replaced',
])[] = [
  ['hot path, persister or admin killed, frozen, restarted', /^(kill|pause|restart) (hot|per|adm)/],
  ['PostgreSQL killed, frozen, restarted', /^(kill|pause|restart) postgres/],
  ['Redis killed, frozen, restarted: the master', /^(kill|pause|restart) redis$/],
  ['… and a replica was promoted meanwhile', /^(kill|pause) redis$/, 'replaced'],
  ['Redis killed, frozen, restarted: a replica', /^(kill|pause|restart) redis-replica/],
  ['connection cut, refused, or open to nowhere', /^(cut|refuse|half-open) /],
  ['request or reply lost', /^lose-(request|reply) /],
  ['replica promoted while the master lives', /^hand-over /],
  ['the same without its consent, during a batch', /^demote /],
  ['master isolated with a hot path that sent it purchases', /^isolate /],
  ['… and a replica was promoted meanwhile', /^isolate /, 'replaced'],
  ['slot of the sale moved', /^move-slot /],
  ['slow disk', /^slow-disk /],
  ['clock of the master set wrong', /^step-clock /],
  ['all of Redis lost, or its last two seconds', /^(flush|lose-disk|lose-tail) /],
  ['persister started on a copy of the database', /^copy-database /],
];

/** Markdown: the table, and the command of each column. */
export function survivalReport(results: readonly ChaosResult[]): string {
  const columns = results.toSorted(
    (a, b) =>
      TOPOLOGIES.indexOf(a.topology) - TOPOLOGIES.indexOf(b.topology) ||
      PROFILES.indexOf(a.profile) - PROFILES.indexOf(b.profile) ||
      a.server.localeCompare(b.server),
  );
  const intro =
    'The commands of the columns, from left to right. The same seed gives the same faults only at the same commit.';
  return `${survivalTable(columns)}\n\n${intro}\n\n\`\`\`sh\n${columns.map(commandOf).join('\n')}\n\`\`\``;
}

function survivalTable(sorted: readonly ChaosResult[]): string {
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
  const rows = ROWS.map(([what, names, counts = 'done']) => [
    what,
    ...results.map(({ faults }) => countOf(faults, names, counts)),
  ]);
  return rows.filter(([, ...counts]) => counts.some((count) => count !== NONE));
}

function headOf({ topology, server, profile, versions }: ChaosResult): string {
  const version = server === 'redis' ? `Redis ${versions.redis}` : versions.redis;
  const recorded = `${versions.commit}, ${versions.date.slice(0, DATE_LENGTH)}`;
  return `${TOPOLOGY[topology]}, ${version}, \`${profile}\` (${recorded})`;
}

function commandOf(result: ChaosResult): string {
  const { topology, server, profile, seeds, buyersPerRun, runsAtOnce } = result;
  const servers = `--topology ${topology} --server ${server} --profile ${profile}`;
  const runs = `--seed ${seeds.first} --runs ${seeds.runs} --buyers ${buyersPerRun}`;
  return `npm run chaos -- ${servers} ${runs} --at-once ${runsAtOnce}`;
}

function keptOf({ runsWithoutViolation, seeds }: ChaosResult): string {
  return `${runsWithoutViolation} of ${seeds.runs}`;
}

function countOf(
  faults: ChaosResult['faults'],
  names: RegExp,
  counts: 'done' | 'replaced',
): string {
  const matching = Object.entries(faults).filter(([name]) => names.test(name));
  const times = matching.reduce((sum, [, count]) => sum + (count[counts] ?? 0), 0);
  return times === 0 ? NONE : grouped(times);
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
