/**
 * The settings that a Redis server must have before this engine sells on it. A server that may evict keys, lose writes
 * or follow a master would break guarantees that no code here could keep.
 */
import type { Redis } from 'ioredis';
import type { CommonConfig } from '../config.ts';
import { Fault } from '../domain/fault.ts';
import { refusedCommands } from './acl.ts';

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
}

/**
 * Throws `server_unfit` with every shortcoming and the setting that fixes it. Undefined: the server is a cluster's
 * replica, which may become a master at any time.
 */
export async function requireFit(
  redis: Redis,
  requirements: ServerRequirements,
): Promise<FitServer | undefined> {
  const info = await redis.info();
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  if (field('cluster_enabled') === '1' && field('role') === 'slave') return undefined;
  const shortcomings: string[] = [];

  if (Number.parseInt(field('redis_version'), 10) < 7) {
    shortcomings.push(`it is Redis ${field('redis_version')}; scripts here need 7.0 or newer`);
  }
  const refused = await refusedCommands(redis);
  if (refused.length > 0) {
    shortcomings.push(
      `its user may not ${refused.join(', ')} as the engine does; by ACL SETUSER allow these commands, the keys ~fs:* and the channels &fs:*`,
    );
  }
  if (field('role') !== 'master') {
    shortcomings.push(`it is a ${field('role')}, not a master; point REDIS_URL at the master`);
  }
  if (field('maxmemory_policy') !== 'noeviction') {
    shortcomings.push(
      `maxmemory-policy is ${field('maxmemory_policy')}: Redis might evict stock; set maxmemory-policy noeviction`,
    );
  }
  if (field('aof_enabled') !== '1') {
    if (requirements.NODE_ENV !== 'development') {
      shortcomings.push('nothing is persisted; set appendonly yes (or NODE_ENV=development)');
    }
  } else if (requirements.DURABILITY !== 'fast') {
    const appendfsync = await configOf(redis, 'appendfsync');
    if (appendfsync !== undefined && appendfsync !== 'always') {
      shortcomings.push(
        `appendfsync is ${appendfsync}, but DURABILITY=${requirements.DURABILITY} needs more; set appendfsync always (or DURABILITY=fast)`,
      );
    }
  }
  const isReplicated = requirements.DURABILITY === 'replicated';
  // If that is the number of all replicas, each can be promoted without loss.
  const replicas = isReplicated ? Number((await configOf(redis, 'min-replicas-to-write')) ?? 1) : 0;
  if (isReplicated && replicas < 1) {
    shortcomings.push(
      'min-replicas-to-write is 0: an isolated master would continue to sell; set min-replicas-to-write 1 or more, preferably the number of replicas',
    );
  }
  if (shortcomings.length > 0) {
    const detail = `Redis does not meet the requirements: ${shortcomings.join('; ')}.`;
    throw new Fault('server_unfit', detail);
  }
  return {
    runId: field('run_id'),
    replicationId: field('master_replid'),
    wasPromoted: /[1-9a-f]/.test(field('master_replid2')),
    replicas,
    replicasConnected: Number(field('connected_slaves')),
    replicasLagMsMax: Number((await configOf(redis, 'min-replicas-max-lag')) ?? 10) * 1_000,
  };
}

/** Undefined if the provider forbids CONFIG: then only INFO is available. */
async function configOf(redis: Redis, name: string): Promise<string | undefined> {
  try {
    const [, value] = await redis.config('GET', name);
    return value;
  } catch {
    return undefined;
  }
}
