/**
 * The identity of the database that belongs to a Redis server, as the server stores it. A server that lost its memory has
 * lost it too. Each master of a cluster has one.
 *
 *   fs:identity:{n}  hash  database    see postgres/database-identity.ts
 *                          claim       a random text, another one each time that it is written
 *                          isComplete  1: the server has every sale that it must have. Until then, a sale that it does
 *                                      not have may exist
 *
 * `n` is the smallest number whose slot the server owns, so all processes find the same key. If its slot migrates, the
 * key migrates with it, and the server gets another one.
 */
import { randomUUID } from 'node:crypto';
import calculateSlot from 'cluster-key-slot';
import type { Redis } from 'ioredis';

export interface SlotRange {
  first: number;
  last: number;
}

/** A server and the key of its identity. */
export interface IdentityPlace {
  client: Redis;
  key: string;
}

export interface StoredIdentity {
  database: string;
  claim: string;
  isComplete: boolean;
}

/** Undefined: the server owns no slots. Without ranges, it owns all. */
export function identityKey(ranges?: readonly SlotRange[]): string | undefined {
  const number = serverNumber(ranges);
  return number === undefined ? undefined : `fs:identity:{${number}}`;
}

/** The smallest number whose slot the server owns. Undefined: it owns none. Without ranges, it owns all. */
export function serverNumber(ranges?: readonly SlotRange[]): number | undefined {
  if (ranges?.length === 0) return undefined;
  for (let number = 0; ; number++) {
    const slot = calculateSlot(String(number));
    if (!ranges || ranges.some(({ first, last }) => first <= slot && slot <= last)) return number;
  }
}

/** Undefined: the server has none. */
export async function readIdentity({ client, key }: IdentityPlace) {
  return storedIdentity(await client.hmget(key, ...FIELDS));
}

/** Writes the identity unless the server has one. Returns the one that it then has: the first of two writers wins. */
export async function claimIdentity(
  { client, key }: IdentityPlace,
  database: string,
): Promise<StoredIdentity> {
  const reply = await client.eval(CLAIM, 1, key, database, randomUUID());
  return storedIdentity(reply as (string | null)[])!;
}

/** The server now has all sales, unless the identity was written again meanwhile: then it has lost them. */
export async function completeIdentity({ client, key }: IdentityPlace, claim: string) {
  await client.eval(COMPLETE, 1, key, claim);
}

/** Makes this database the one that belongs to the server. */
export async function replaceIdentity({ client, key }: IdentityPlace, database: string) {
  await client.hset(key, 'database', database, 'claim', randomUUID());
}

const FIELDS = ['database', 'claim', 'isComplete'] as const;

function storedIdentity([database, claim, isComplete]: (string | null)[]) {
  if (!database) return undefined;
  return { database, claim: claim ?? '', isComplete: isComplete === '1' };
}

/** On a full Redis too: without it, nothing is drained. */
const CLAIM = `#!lua flags=allow-oom
if not redis.call('HGET', KEYS[1], 'database') then
  redis.call('HSET', KEYS[1], 'database', ARGV[1], 'claim', ARGV[2])
  redis.call('HDEL', KEYS[1], 'isComplete')
end
return redis.call('HMGET', KEYS[1], 'database', 'claim', 'isComplete')`;

const COMPLETE = `#!lua flags=allow-oom
if redis.call('HGET', KEYS[1], 'claim') == ARGV[1] then redis.call('HSET', KEYS[1], 'isComplete', '1') end
return 'checked'`;
