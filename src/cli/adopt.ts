/** `flash-sale migrate --adopt`: makes the database of DATABASE_URL the one that belongs to the Redis of REDIS_URL. */
import type { readServersConfig } from '../config.ts';
import { Fault } from '../domain/fault.ts';
import { connectPostgres } from '../postgres/connection.ts';
import { notePairing, readDatabaseIdentity } from '../postgres/database-identity.ts';
import { createLogger } from '../process/logger.ts';
import { readIdentity, replaceIdentity } from '../redis/identity.ts';
import { Shards } from '../redis/shards.ts';
import { untilReady } from './verify.ts';

/** Throws `server_unfit` if a Redis server cannot be used; then some masters of a cluster may have been adopted. */
export async function adopt(
  config: ReturnType<typeof readServersConfig>,
  report: (line: string) => void,
): Promise<void> {
  const sql = connectPostgres(config.DATABASE_URL, { process: 'migrate', connectionsMax: 1 });
  let unfit: Fault | undefined;
  const shards = new Shards({
    url: config.REDIS_URL,
    name: 'migrate',
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    requirements: config,
    log: createLogger('migrate', 'silent'),
    onUnfit: (fault) => {
      unfit = fault;
    },
  });
  try {
    const { identity } = await readDatabaseIdentity(sql);
    await untilReady(shards);
    if (!shards.isReady) throw unfit ?? new Fault('server_unfit', 'Redis is not reachable.');
    await notePairing(sql, identity);
    for (const place of await shards.identityPlaces()) {
      const before = await readIdentity(place);
      if (before?.database === identity) {
        report(`${place.key}: this database already belongs to Redis`);
        continue;
      }
      await replaceIdentity(place, identity);
      report(
        `${place.key}: this database belongs to Redis now${before ? `, instead of ${before.database}` : ''}`,
      );
    }
  } finally {
    shards.close();
    await sql.end({ timeout: 2 });
  }
}
