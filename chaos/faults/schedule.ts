/**
 * The faults of a run and their times. Only the seed determines them, before anything starts, so the same seed always
 * gives the same schedule.
 */

import type { Random } from '../../harness/random.ts';
import { unreachable } from '../../src/domain/fault.ts';
import type { ServerName, TopologyName } from '../topologies/topology.ts';

export const ENGINE_PROCESSES = [
  'hot-path-1',
  'hot-path-2',
  'persister-1',
  'persister-2',
  'admin',
] as const;
export type EngineProcess = (typeof ENGINE_PROCESSES)[number];
export const HOT_PATHS = ['hot-path-1', 'hot-path-2'] as const;
/** Of several Redis servers, the one that has the sale when the fault begins, or a replica of it. */
type RedisTarget = 'redis' | 'redis-replica';
/** A fault that lasts ends on the server where it began. */
export type ProcessName = EngineProcess | RedisTarget | ServerName | 'postgres';

export function isEngineProcess(name: ProcessName): name is EngineProcess {
  return (ENGINE_PROCESSES as readonly string[]).includes(name);
}

/** Each link is a proxy, so that a fault can separate one pair of processes while all others continue. */
export const LINKS = [
  'buyers>hot-path-1',
  'buyers>hot-path-2',
  'operators>admin',
  'hot-path-1>redis',
  'hot-path-2>redis',
  'persister-1>redis',
  'persister-2>redis',
  'admin>redis',
  'persister-1>postgres',
  'persister-2>postgres',
  'admin>postgres',
] as const;
export type LinkName = (typeof LINKS)[number];

/** The requests that a fault can wait for. */
export type RequestName =
  | 'http'
  | 'reserve'
  | 'transition'
  | 'sweep'
  | 'apply-operation'
  | 'renew-fence'
  | 'trim-events'
  | 'acknowledge'
  | 'commit';

const PROCESS_FAULTS = ['kill', 'pause', 'restart'] as const;
/**
 * `half-open`: nothing passes, and neither side detects it. `lose-request`: the connection is cut before the next such
 * request arrives. `lose-reply`: it is cut after the request was executed, before its reply.
 */
const LINK_FAULTS = ['cut', 'refuse', 'half-open', 'lose-request', 'lose-reply'] as const;
/** Redis loses all keys, its whole disk, or the newest part of its append-only file. */
const DATA_LOSSES = ['flush', 'lose-disk', 'lose-tail'] as const;

/**
 * Faults of servers that replicate. `hand-over`: a replica becomes the master while the old one lives; `demote`: the same
 * without the old one's consent, while it decides on a batch of purchases. Sentinels have only `hand-over`: they never
 * ask the old master, and promote a replica some tenths of a second after the command, when the batch is over. `isolate`:
 * the master keeps a hot path and perhaps other processes, and loses all others, its replicas and the sentinels.
 * `move-slot`: the sale moves to another master of the cluster. `slow-disk`: each sync of the master takes long.
 * `step-clock`: the master's clock is set forward or back, and later set right.
 */
const REPLICATION_FAULTS: Record<TopologyName, readonly ReplicationFaultKind[]> = {
  single: [],
  cluster: ['hand-over', 'demote', 'isolate', 'move-slot', 'slow-disk', 'step-clock'],
  sentinel: ['hand-over', 'isolate', 'slow-disk', 'step-clock'],
};

type ReplicationFaultKind =
  | 'hand-over'
  | 'demote'
  | 'isolate'
  | 'move-slot'
  | 'slow-disk'
  | 'step-clock';
type ProcessFaultKind = (typeof PROCESS_FAULTS)[number];
type LinkFaultKind = (typeof LINK_FAULTS)[number];
export type DataLossKind = (typeof DATA_LOSSES)[number];
/** A persister starts on a copy of the database. Copying it ends all sessions of PostgreSQL. */
const COPY = 'copy-database';
type FaultKind =
  | ProcessFaultKind
  | LinkFaultKind
  | ReplicationFaultKind
  | DataLossKind
  | typeof COPY;

export interface PlannedFault {
  /** After the start of the workload. */
  atMs: number;
  /** 0 for faults that end immediately, and for those that the supervisor repairs. */
  forMs: number;
  kind: FaultKind;
  target: ProcessName | LinkName;
  /** The request that `lose-request` and `lose-reply` wait for. */
  request?: RequestName;
  /** The processes that an isolated master keeps. */
  keeps?: readonly EngineProcess[];
  /** By how much a clock is set forward; negative: back. */
  byMs?: number;
}

export interface ScheduleChoices {
  topology: TopologyName;
  /** Whether the servers' clocks can be set. */
  hasClocks: boolean;
  /** Faults start within this time. */
  windowMs: number;
  faults: { least: number; most: number };
  dataLosses: readonly DataLossKind[];
  /** The probability of one persister on a copy of the database. */
  copyChance: number;
}

/** The relative frequency of each kind. */
const WEIGHTS: Record<Exclude<FaultKind, typeof COPY>, number> = {
  kill: 6,
  pause: 4,
  restart: 2,
  cut: 2,
  refuse: 2,
  'half-open': 4,
  'lose-request': 3,
  'lose-reply': 5,
  'hand-over': 4,
  demote: 4,
  isolate: 6,
  'move-slot': 3,
  'slow-disk': 2,
  'step-clock': 4,
  flush: 3,
  'lose-disk': 3,
  'lose-tail': 6,
};

/** How long a killed server stays down. Every fault must end, or the sale could not recover. */
const SERVER_DOWN_MS = { least: 100, most: 1_500 };
const PAUSE_MS = { least: 200, most: 2_500 };
/** Some are so short that the servers do not notice, some so long that a replica is promoted. */
const REPLICATED_DOWN_MS = { least: 200, most: 8_000 };
/**
 * Longer than servers need to notice that the master is gone (2 s in a Cluster, 1 s with Sentinels) and to elect another.
 * Some isolations end before that.
 */
const ISOLATED_MS = { least: 5_000, most: 8_000 };
const ENDS_EARLY_CHANCE = 0.2;
const ISOLATED_BRIEFLY_MS = { least: 200, most: 2_000 };
/** That an isolated master keeps a process. */
const KEEP_CHANCE = 0.5;
const KEEP_BOTH_HOT_PATHS_CHANCE = 0.25;
/** How long a batch of purchases may be awaited. */
const DEMOTE_WITHIN_MS = 3_000;
/** More than a second is a jump for the engine. */
const CLOCK_STEP_MS = { least: 200, most: 2_000 };
const CLOCK_WRONG_MS = { least: 500, most: 4_000 };
const SLOW_DISK_MS = { least: 1_000, most: 4_000 };
/** Longer than a persister needs to start and to find out that its database is a copy. */
const COPY_MS = 4_000;
const LINK_DOWN_MS = { least: 200, most: 2_500 };

export function drawSchedule(random: Random, choices: ScheduleChoices): PlannedFault[] {
  const kinds = [
    ...PROCESS_FAULTS,
    ...LINK_FAULTS,
    ...REPLICATION_FAULTS[choices.topology].filter(
      (kind) => kind !== 'step-clock' || choices.hasClocks,
    ),
    ...choices.dataLosses,
  ];
  const count = random.between(choices.faults.least, choices.faults.most);
  const drawn = Array.from({ length: count }, () => drawFault(random, kinds, choices));
  const copying = random.of('copy');
  if (copying.chance(choices.copyChance)) {
    const atMs = copying.between(0, choices.windowMs);
    drawn.push({ atMs, forMs: COPY_MS, kind: COPY, target: 'postgres' });
  }
  drawn.sort((a, b) => a.atMs - b.atMs);
  // One fault at a time per target: an ended process cannot be killed.
  const busyUntilMs = new Map<string, number>();
  return drawn.filter((fault) => {
    const target = sequenceOf(fault);
    if ((busyUntilMs.get(target) ?? 0) > fault.atMs) return false;
    busyUntilMs.set(target, fault.atMs + fault.forMs);
    return true;
  });
}

/** Faults of one sequence follow each other. The Redis servers share one: each fault changes the roles of several. */
export function sequenceOf({ target }: PlannedFault): string {
  return target === 'redis-replica' ? 'redis' : target;
}

const SERVERS: Record<TopologyName, readonly RedisTarget[]> = {
  single: ['redis'],
  cluster: ['redis', 'redis', 'redis-replica'],
  sentinel: ['redis', 'redis', 'redis-replica'],
};

type DrawnKind = keyof typeof WEIGHTS;

function drawFault(
  random: Random,
  kinds: readonly DrawnKind[],
  { windowMs, topology }: ScheduleChoices,
): PlannedFault {
  const kind = drawKind(random, kinds);
  const atMs = random.between(0, windowMs);
  const within = ({ least, most }: { least: number; most: number }) => random.between(least, most);
  switch (kind) {
    case 'kill':
    case 'restart':
    case 'pause': {
      // Each server is as likely as each process of the engine.
      const targets: ProcessName[] = [...SERVERS[topology], 'postgres', ...ENGINE_PROCESSES];
      const target = random.pick(targets);
      const isReplicated = topology !== 'single' && target.startsWith('redis');
      if (kind === 'pause') {
        return { atMs, forMs: within(isReplicated ? REPLICATED_DOWN_MS : PAUSE_MS), kind, target };
      }
      const downMs = isReplicated ? REPLICATED_DOWN_MS : SERVER_DOWN_MS;
      const staysDown = kind === 'kill' && !isEngineProcess(target);
      return { atMs, forMs: staysDown ? within(downMs) : 0, kind, target };
    }
    case 'hand-over':
    case 'move-slot':
      return { atMs, forMs: 0, kind, target: 'redis' };
    case 'demote':
      return { atMs, forMs: DEMOTE_WITHIN_MS, kind, target: 'redis' };
    case 'isolate': {
      // Without a hot path, nobody would sell on the isolated master. The other one mostly sells on the promoted one.
      const hotPath = random.pick(HOT_PATHS);
      const others = ENGINE_PROCESSES.filter((name) => name !== hotPath);
      const keeps = [hotPath, ...others.filter((name) => random.chance(keepChance(name)))];
      const forMs = within(random.chance(ENDS_EARLY_CHANCE) ? ISOLATED_BRIEFLY_MS : ISOLATED_MS);
      return { atMs, forMs, kind, target: 'redis', keeps };
    }
    case 'slow-disk':
      return { atMs, forMs: within(SLOW_DISK_MS), kind, target: 'redis' };
    case 'step-clock': {
      const byMs = within(CLOCK_STEP_MS) * (random.chance(0.5) ? 1 : -1);
      return { atMs, forMs: within(CLOCK_WRONG_MS), kind, target: 'redis', byMs };
    }
    case 'flush':
      return { atMs, forMs: 0, kind, target: 'redis' };
    case 'lose-disk':
    case 'lose-tail':
      return { atMs, forMs: within(SERVER_DOWN_MS), kind, target: 'redis' };
    case 'cut':
      return { atMs, forMs: 0, kind, target: random.pick(LINKS) };
    case 'refuse':
    case 'half-open':
      return { atMs, forMs: within(LINK_DOWN_MS), kind, target: random.pick(LINKS) };
    case 'lose-request':
    case 'lose-reply': {
      const target = random.pick(LINKS);
      return { atMs, forMs: 0, kind, target, request: random.pick(requestsOver(target)) };
    }
    default:
      return unreachable(kind);
  }
}

function keepChance(name: EngineProcess): number {
  return name.startsWith('hot-path') ? KEEP_BOTH_HOT_PATHS_CHANCE : KEEP_CHANCE;
}

function drawKind(random: Random, kinds: readonly DrawnKind[]): DrawnKind {
  let at = random.next() * kinds.reduce((sum, kind) => sum + WEIGHTS[kind], 0);
  for (const kind of kinds) {
    at -= WEIGHTS[kind];
    if (at < 0) return kind;
  }
  return kinds.at(-1)!;
}

function requestsOver(link: LinkName): readonly RequestName[] {
  switch (link) {
    case 'buyers>hot-path-1':
    case 'buyers>hot-path-2':
    case 'operators>admin':
      return ['http'];
    case 'hot-path-1>redis':
    case 'hot-path-2>redis':
      return ['reserve', 'reserve', 'transition'];
    case 'persister-1>redis':
    case 'persister-2>redis':
      return ['sweep', 'acknowledge', 'trim-events', 'renew-fence'];
    case 'admin>redis':
      return ['transition', 'apply-operation'];
    case 'persister-1>postgres':
    case 'persister-2>postgres':
    case 'admin>postgres':
      return ['commit'];
    default:
      return unreachable(link);
  }
}

/** For the console. */
export function describeFault(fault: PlannedFault): string {
  const { atMs, forMs, kind, target, request, keeps, byMs } = fault;
  const detail = request ?? (byMs === undefined ? undefined : `by ${byMs} ms`);
  const what = detail ? `${kind} ${detail}` : kind;
  const kept = keeps ? `, with ${keeps.join(', ') || 'no process'}` : '';
  return `${String(atMs).padStart(6)} ms  ${what} ${target}${kept}${forMs > 0 ? ` for ${forMs} ms` : ''}`;
}
