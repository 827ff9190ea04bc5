/**
 * The faults of a run and their times. Only the seed determines them, before anything starts, so the same seed always
 * gives the same schedule.
 */

import type { Random } from '../../harness/random.ts';
import { unreachable } from '../../src/domain/fault.ts';

export const ENGINE_PROCESSES = [
  'hot-path-1',
  'hot-path-2',
  'persister-1',
  'persister-2',
  'admin',
] as const;
export type EngineProcess = (typeof ENGINE_PROCESSES)[number];
export type ProcessName = EngineProcess | 'redis' | 'postgres';

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

type ProcessFaultKind = (typeof PROCESS_FAULTS)[number];
type LinkFaultKind = (typeof LINK_FAULTS)[number];
export type DataLossKind = (typeof DATA_LOSSES)[number];
/** A persister starts on a copy of the database. Copying it ends all sessions of PostgreSQL. */
const COPY = 'copy-database';
type FaultKind = ProcessFaultKind | LinkFaultKind | DataLossKind | typeof COPY;

export interface PlannedFault {
  /** After the start of the workload. */
  atMs: number;
  /** 0 for faults that end immediately, and for those that the supervisor repairs. */
  forMs: number;
  kind: FaultKind;
  target: ProcessName | LinkName;
  /** The request that `lose-request` and `lose-reply` wait for. */
  request?: RequestName;
}

export interface ScheduleChoices {
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
  flush: 3,
  'lose-disk': 3,
  'lose-tail': 6,
};

/** How long a killed server stays down. Every fault must end, or the sale could not recover. */
const SERVER_DOWN_MS = { least: 100, most: 1_500 };
const PAUSE_MS = { least: 200, most: 2_500 };
/** Longer than a persister needs to start and to find out that its database is a copy. */
const COPY_MS = 4_000;
const LINK_DOWN_MS = { least: 200, most: 2_500 };

export function drawSchedule(random: Random, choices: ScheduleChoices): PlannedFault[] {
  const kinds = [...PROCESS_FAULTS, ...LINK_FAULTS, ...choices.dataLosses];
  const count = random.between(choices.faults.least, choices.faults.most);
  const drawn = Array.from({ length: count }, () => drawFault(random, kinds, choices.windowMs));
  const copying = random.of('copy');
  if (copying.chance(choices.copyChance)) {
    const atMs = copying.between(0, choices.windowMs);
    drawn.push({ atMs, forMs: COPY_MS, kind: COPY, target: 'postgres' });
  }
  drawn.sort((a, b) => a.atMs - b.atMs);
  // One fault at a time per target: an ended process cannot be killed.
  const busyUntilMs = new Map<string, number>();
  return drawn.filter(({ target, atMs, forMs }) => {
    if ((busyUntilMs.get(target) ?? 0) > atMs) return false;
    busyUntilMs.set(target, atMs + forMs);
    return true;
  });
}

type DrawnKind = keyof typeof WEIGHTS;

function drawFault(random: Random, kinds: readonly DrawnKind[], windowMs: number): PlannedFault {
  const kind = drawKind(random, kinds);
  const atMs = random.between(0, windowMs);
  const within = ({ least, most }: { least: number; most: number }) => random.between(least, most);
  switch (kind) {
    case 'kill':
    case 'restart':
    case 'pause': {
      // Each server is as likely as each process of the engine.
      const target = random.pick(['redis', 'postgres', ...ENGINE_PROCESSES] as const);
      const isServer = target === 'redis' || target === 'postgres';
      if (kind === 'pause') return { atMs, forMs: within(PAUSE_MS), kind, target };
      return {
        atMs,
        forMs: kind === 'kill' && isServer ? within(SERVER_DOWN_MS) : 0,
        kind,
        target,
      };
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
export function describeFault({ atMs, forMs, kind, target, request }: PlannedFault): string {
  const what = request ? `${kind} ${request}` : kind;
  return `${String(atMs).padStart(6)} ms  ${what} ${target}${forMs > 0 ? ` for ${forMs} ms` : ''}`;
}
