/**
 * The settings that a Redis server must have before this engine sells on it. A server that may evict keys, lose writes
 * or follow a master would break guarantees that no code here could keep. docs/LIMITS.md explains each setting.
 */
import type { Redis } from 'ioredis';
import type { CommonConfig } from '../config.ts';
import { Fault } from '../domain/fault.ts';
import { refusedCommands } from './acl.ts';
import { fieldsOf, replicaShortcomings } from './replica-requirements.ts';

type Durability = CommonConfig['DURABILITY'];
export type ServerRequirements = Pick<CommonConfig, 'DURABILITY' | 'NODE_ENV'>;

/** A server that meets the requirements. */
export interface FitServer {
  /** Changes with each start of the server's process. */
  runId: string;
  /** Changes with each promotion to master. */
  replicationId: string;
  /** Whether it was a replica since its start. */
  wasPromoted: boolean;
  /** How many replicas must have a decision, `min-replicas-to-write`; 0 unless `DURABILITY=replicated`. */
  replicas: number;
  /** How many replicas are connected; the barrier waits for `replicas` of them. */
  replicasConnected: number;
  /** `min-replicas-max-lag`: a replica with a longer lag does not count, and with too few the server rejects writes. */
  replicasLagMsMax: number;
  /** What could not be checked, and why; empty: everything was. */
  unchecked: string[];
}

/** What earlier checks of the same server found. */
export interface EarlierChecks {
  /** The server wrote no append-only file. Once it is told to write one, its first file is incomplete for a while. */
  wroteNoFile?: boolean;
}

/** A setting of redis.conf that a promise depends on. A server that does not know it has no such feature. */
interface RequiredSetting {
  name: string;
  profiles: readonly Durability[];
  isMet: (value: string) => boolean;
  /** What goes wrong otherwise. */
  hazard: string;
  /** What to set. */
  fix: string;
}

const ALL: readonly Durability[] = ['fast', 'safe', 'replicated'];
const SYNCED: readonly Durability[] = ['safe', 'replicated'];

/** For servers that write an append-only file. */
const FILE_SETTINGS: readonly RequiredSetting[] = [
  {
    name: 'appendfsync',
    profiles: SYNCED,
    isMet: (value) => value === 'always',
    hazard: 'a buyer could get the response before the reservation is on disk',
    fix: 'set appendfsync always (or DURABILITY=fast)',
  },
  {
    name: 'appendfsync',
    profiles: ['fast'],
    isMet: (value) => value !== 'no',
    hazard: 'a power cut could lose more than the last 2 s',
    fix: 'set appendfsync everysec',
  },
  {
    name: 'no-appendfsync-on-rewrite',
    profiles: ALL,
    isMet: (value) => value === 'no',
    hazard: 'during a rewrite or a snapshot nothing is synced',
    fix: 'set no-appendfsync-on-rewrite no',
  },
  {
    name: 'aof-load-corrupt-tail-max-size',
    profiles: ALL,
    isMet: (value) => Number.parseInt(value, 10) === 0,
    hazard: 'after damage to the file, Redis could start without synced reservations',
    fix: 'set aof-load-corrupt-tail-max-size 0',
  },
];

/** For masters. If the number of replicas to wait for is that of all replicas, each can be promoted without loss. */
const REPLICATION_SETTINGS: readonly RequiredSetting[] = [
  {
    name: 'min-replicas-to-write',
    profiles: ['replicated'],
    isMet: (value) => Number(value) >= 1,
    hazard: 'an isolated master would continue to sell',
    fix: 'set min-replicas-to-write 1 or more, preferably the number of replicas',
  },
  {
    name: 'min-replicas-max-lag',
    profiles: ['replicated'],
    isMet: (value) => Number(value) >= 1,
    hazard: '0 disables min-replicas-to-write, so an isolated master would continue to sell',
    fix: 'set min-replicas-max-lag 10',
  },
];

/** For replicas, which may be promoted. */
const REPLICA_SETTINGS: readonly RequiredSetting[] = [
  {
    name: 'replica-ignore-disk-write-errors',
    profiles: ['replicated'],
    isMet: (value) => value === 'no',
    hazard: 'a replica with a full disk would confirm reservations that it does not persist',
    fix: 'set replica-ignore-disk-write-errors no',
  },
];

/**
 * Throws `server_unfit` with every shortcoming and the setting that fixes it. Undefined: the server is a cluster's
 * replica, which may become a master at any time.
 */
export async function requireFit(
  redis: Redis,
  requirements: ServerRequirements,
  earlier: EarlierChecks = {},
): Promise<FitServer | undefined> {
  const [report, refused] = await Promise.all([readReport(redis), refusedCommands(redis)]);
  const { field, settings } = report;
  if (field('cluster_enabled') === '1' && field('role') === 'slave') return undefined;
  const shortcomings: string[] = [];
  const unchecked = settings ? [] : ['the settings, because CONFIG GET is forbidden'];

  if (Number.parseInt(field('redis_version'), 10) < 7) {
    shortcomings.push(`it is Redis ${field('redis_version')}; scripts here need 7.0 or newer`);
  }
  if (refused.length > 0) {
    shortcomings.push(
      `its user may not ${refused.join(', ')} as the engine does; by ACL SETUSER allow these commands, the keys ~fs:* and the channels &fs:*`,
    );
  }
  if (field('role') !== 'master') {
    shortcomings.push(`it is a ${field('role')}, not a master; point REDIS_URL at the master`);
  }
  shortcomings.push(...persistenceShortcomings(report, requirements));
  shortcomings.push(...firstFileShortcomings(report, earlier));
  shortcomings.push(...unmetSettings(REPLICATION_SETTINGS, report, requirements));
  if (requirements.DURABILITY === 'replicated') {
    const replicas = await replicaShortcomings(redis, field, async (replica) => {
      const own = await readReport(replica);
      // While it loads a copy of its master's data, it writes no append-only file, whatever its settings say.
      if (own.field('master_link_status') !== 'up') return 'behind';
      return [
        ...persistenceShortcomings(own, requirements),
        ...unmetSettings(REPLICA_SETTINGS, own, requirements),
      ];
    });
    shortcomings.push(...replicas.shortcomings);
    unchecked.push(...replicas.unchecked);
  }
  if (shortcomings.length > 0) {
    const detail = `Redis does not meet the requirements: ${shortcomings.join('; ')}.`;
    throw new Fault('server_unfit', detail);
  }
  const isReplicated = requirements.DURABILITY === 'replicated';
  return {
    runId: field('run_id'),
    replicationId: field('master_replid'),
    wasPromoted: /[1-9a-f]/.test(field('master_replid2')),
    replicas: isReplicated ? Number(settings?.get('min-replicas-to-write') ?? 1) : 0,
    replicasConnected: Number(field('connected_slaves')),
    replicasLagMsMax: Number(settings?.get('min-replicas-max-lag') ?? 10) * 1_000,
    unchecked,
  };
}

/** What a server says about itself. */
interface ServerReport {
  /** A field of INFO; empty if it is absent. */
  field: (name: string) => string;
  /** Undefined if the provider forbids CONFIG: then only INFO is available. */
  settings: ReadonlyMap<string, string> | undefined;
}

const SETTING_NAMES = [
  ...new Set(
    [...FILE_SETTINGS, ...REPLICATION_SETTINGS, ...REPLICA_SETTINGS].map(({ name }) => name),
  ),
];

async function readReport(redis: Redis): Promise<ServerReport> {
  const [info, settings] = await Promise.all([redis.info(), readSettings(redis)]);
  return { field: fieldsOf(info), settings };
}

async function readSettings(redis: Redis): Promise<Map<string, string> | undefined> {
  let pairs: string[];
  try {
    pairs = (await redis.call('CONFIG', 'GET', ...SETTING_NAMES)) as string[];
  } catch (error) {
    // A timeout or a lost connection says nothing about the settings.
    if (error instanceof Error && /^(NOPERM|ERR)\b/.test(error.message)) return undefined;
    throw error;
  }
  const settings = new Map<string, string>();
  for (let i = 0; i + 1 < pairs.length; i += 2) settings.set(pairs[i]!, pairs[i + 1]!);
  return settings;
}

/** What a master and each replica that may be promoted must have. */
function persistenceShortcomings(report: ServerReport, requirements: ServerRequirements): string[] {
  const { field } = report;
  const shortcomings: string[] = [];
  if (field('maxmemory_policy') !== 'noeviction') {
    shortcomings.push(
      `maxmemory-policy is ${field('maxmemory_policy')}: Redis might evict stock; set maxmemory-policy noeviction`,
    );
  }
  if (field('aof_enabled') === '1') {
    shortcomings.push(...unmetSettings(FILE_SETTINGS, report, requirements));
  } else if (requirements.NODE_ENV !== 'development') {
    shortcomings.push(
      'appendonly is no: nothing is persisted; set appendonly yes (or NODE_ENV=development)',
    );
  }
  return shortcomings;
}

function unmetSettings(
  required: readonly RequiredSetting[],
  { settings }: ServerReport,
  { DURABILITY }: ServerRequirements,
): string[] {
  return required.flatMap(({ name, profiles, isMet, hazard, fix }) => {
    const value = settings?.get(name);
    if (value === undefined || !profiles.includes(DURABILITY) || isMet(value)) return [];
    return [
      `${name} is ${value}, but DURABILITY=${DURABILITY} requires otherwise (${hazard}); ${fix}`,
    ];
  });
}

/**
 * A server that is told at run time to write a file first writes it as a whole, in the background. Until that has
 * succeeded, a restart loads the old file, or none.
 */
function firstFileShortcomings({ field }: ServerReport, earlier: EarlierChecks): string[] {
  if (field('aof_enabled') !== '1') {
    earlier.wroteNoFile = true;
    return [];
  }
  const isComplete =
    field('aof_rewrite_in_progress') === '0' &&
    field('aof_rewrite_scheduled') === '0' &&
    field('aof_last_bgrewrite_status') === 'ok';
  if (isComplete) earlier.wroteNoFile = false;
  return earlier.wroteNoFile
    ? ['its first append-only file is incomplete; wait until Redis has written it']
    : [];
}
