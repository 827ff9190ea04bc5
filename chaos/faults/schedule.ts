/**
 * What goes wrong in a run, and when: drawn from the seed alone, before anything has started, so that the same seed
 * always brings the same schedule.
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

/** Each is a proxy of its own, so that one pair can lose sight of each other while everybody else goes on. */
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

/** What travels over links, as far as a fault can wait for it. */
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
 * `half-open`: nothing passes and nobody is told. `lose-request`, `lose-reply`: the connection is cut before the next
 * such request arrives, or after it was carried out and before its answer.
 */
const LINK_FAULTS = ['cut', 'refuse', 'half-open', 'lose-request', 'lose-reply'] as const;
/** Redis forgets: everything in place, its whole disk, or the newest part of its append-only file. */
const MEMORY_FAULTS = ['flush', 'lose-disk', 'lose-tail'] as const;

export type ProcessFaultKind = (typeof PROCESS_FAULTS)[number];
export type LinkFaultKind = (typeof LINK_FAULTS)[number];
export type MemoryFaultKind = (typeof MEMORY_FAULTS)[number];
export type FaultKind = ProcessFaultKind | LinkFaultKind | MemoryFaultKind;

export interface PlannedFault {
  /** After the workload has begun. */
  atMs: number;
  /** How long it lasts; 0 for what is over at once, and for what the supervisor mends. */
  forMs: number;
  kind: FaultKind;
  target: ProcessName | LinkName;
  /** Which request `lose-request` and `lose-reply` wait for. */
  request?: RequestName;
}

export interface ScheduleChoices {
  /** Faults begin within so long. */
  windowMs: number;
  faults: { least: number; most: number };
  memoryFaults: readonly MemoryFaultKind[];
}

/** How often one kind is drawn compared to the others. */
const WEIGHTS: Record<FaultKind, number> = {
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

/** A server that was killed stays away so long; what lasts must end, or nothing would ever get better. */
const SERVER_AWAY_MS = { least: 100, most: 1_500 };
const PAUSE_MS = { least: 200, most: 2_500 };
const LINK_DOWN_MS = { least: 200, most: 2_500 };

export function drawSchedule(random: Random, choices: ScheduleChoices): PlannedFault[] {
  const kinds = [...PROCESS_FAULTS, ...LINK_FAULTS, ...choices.memoryFaults];
  const count = random.between(choices.faults.least, choices.faults.most);
  const drawn = Array.from({ length: count }, () => drawFault(random, kinds, choices.windowMs));
  drawn.sort((a, b) => a.atMs - b.atMs);
  // One thing at a time for each target: what is dead can not be killed.
  const busyUntilMs = new Map<string, number>();
  return drawn.filter(({ target, atMs, forMs }) => {
    if ((busyUntilMs.get(target) ?? 0) > atMs) return false;
    busyUntilMs.set(target, atMs + forMs);
    return true;
  });
}

function drawFault(random: Random, kinds: readonly FaultKind[], windowMs: number): PlannedFault {
  const kind = drawKind(random, kinds);
  const atMs = random.between(0, windowMs);
  const within = ({ least, most }: { least: number; most: number }) => random.between(least, most);
  switch (kind) {
    case 'kill':
    case 'restart':
    case 'pause': {
      // Servers as often as all the engine's processes of a kind.
      const target = random.pick(['redis', 'postgres', ...ENGINE_PROCESSES] as const);
      const isServer = target === 'redis' || target === 'postgres';
      if (kind === 'pause') return { atMs, forMs: within(PAUSE_MS), kind, target };
      return {
        atMs,
        forMs: kind === 'kill' && isServer ? within(SERVER_AWAY_MS) : 0,
        kind,
        target,
      };
    }
    case 'flush':
      return { atMs, forMs: 0, kind, target: 'redis' };
    case 'lose-disk':
    case 'lose-tail':
      return { atMs, forMs: within(SERVER_AWAY_MS), kind, target: 'redis' };
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

function drawKind(random: Random, kinds: readonly FaultKind[]): FaultKind {
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

/** A line for people. */
export function describeFault({ atMs, forMs, kind, target, request }: PlannedFault): string {
  const what = request ? `${kind} ${request}` : kind;
  return `${String(atMs).padStart(6)} ms  ${what} ${target}${forMs > 0 ? ` for ${forMs} ms` : ''}`;
}
