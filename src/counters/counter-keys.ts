/**
 * Where the counters of processes are. Each server has those of all processes that use it, so that what is known of a sale
 * depends on the sale's own server only. `n` is the server's number, as in the key of its identity.
 *
 *   fs:process:{n}:<id>  string  the counters of one process, see process-counters.ts
 *   fs:processes:{n}     zset    id of the process -> when it reported last, ms by Redis' clock
 *   fs:watched:{n}       string  somebody looks at the counters: processes report more often
 *
 * All of them expire, so nothing is left of a process that was killed. No decision depends on them.
 */
import type { Shards } from '../redis/shards.ts';
import { decodeCounters, type ProcessCounters } from './process-counters.ts';

/** A process that has not reported for this long has ended, or cannot reach the server. */
export const EXPIRY_MS = 5_000;
export const WATCHED_MS = 5_000;
const PROCESSES_MAX = 1_000;

/** A server, and the number in its keys. */
export type CounterPlace = Shards['servers'][number];

/** Allowed on a full Redis too, because an operator needs the numbers most then. They are bounded, and expire. */
const REPORT = `#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return redis.call('EXISTS', KEYS[3])`;

/** Returns whether somebody looks at the counters. Throws errors of Redis. */
export async function report(place: CounterPlace, id: string, text: string): Promise<boolean> {
  const { shard, number } = place;
  const keys = [counterKey(number, id), indexKey(number), watchedKey(number)];
  return (await shard.client.eval(REPORT, keys.length, ...keys, id, text, EXPIRY_MS)) === 1;
}

/** Throws errors of Redis. */
export async function forget({ shard, number }: CounterPlace, id: string): Promise<void> {
  const { client } = shard;
  await Promise.all([client.del(counterKey(number, id)), client.zrem(indexKey(number), id)]);
}

/** Makes processes report more often for WATCHED_MS. Throws errors of Redis. */
export async function watch({ shard, number }: CounterPlace): Promise<void> {
  await shard.client.set(watchedKey(number), '1', 'PX', WATCHED_MS);
}

/** What one process has reported to one server. */
export interface Reported extends ProcessCounters {
  /** ms by Redis' clock. */
  seenAt: number;
}

/** Throws errors of Redis. */
export async function readReports({ shard, number }: CounterPlace): Promise<Reported[]> {
  const { client } = shard;
  const found = await client.zrevrange(indexKey(number), 0, PROCESSES_MAX - 1, 'WITHSCORES');
  const ids = found.filter((_, index) => index % 2 === 0);
  if (ids.length === 0) return [];
  const texts = await client.mget(ids.map((id) => counterKey(number, id)));
  return texts.flatMap((text, index) => {
    const counters = text === null ? undefined : decodeCounters(text);
    return counters ? [{ ...counters, seenAt: Number(found[2 * index + 1]) }] : [];
  });
}

function counterKey(number: number, id: string): string {
  return `fs:process:{${number}}:${id}`;
}

function indexKey(number: number): string {
  return `fs:processes:{${number}}`;
}

function watchedKey(number: number): string {
  return `fs:watched:{${number}}`;
}
