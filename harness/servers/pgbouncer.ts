/** A real PgBouncer on a free loopback port, in front of one PostgreSQL. */
import { chownSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../src/dev/bootstrap/find-servers.mjs';
import { findFreePorts } from '../../src/process/free-port.ts';
import { type Scope, use } from '../use.ts';
import { postgresUser, respondsToSql } from './postgres.ts';
import { asTestServer, ServerProcess, type TestServer } from './server-process.ts';

export type PoolMode = 'session' | 'transaction';

/** With the defaults of its package, apart from `pool_mode`. `url`: the same database as in `databaseUrl`, through it. */
export function usePgBouncer(
  scope: Scope,
  databaseUrl: string,
  poolMode: PoolMode,
): Promise<TestServer> {
  return use(scope, () => startPgBouncer(databaseUrl, poolMode));
}

async function startPgBouncer(databaseUrl: string, poolMode: PoolMode): Promise<TestServer> {
  const command = findProgram('pgbouncer');
  if (!command) throw new Error('PgBouncer is not installed; npm test installs it');
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-test-pgbouncer-'));
  const [port] = await findFreePorts(1);
  const server = new URL(databaseUrl);
  const file = join(directory, 'pgbouncer.ini');
  writeFileSync(
    file,
    `[databases]
* = host=${server.hostname} port=${server.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${poolMode}
`,
  );
  const user = postgresUser();
  if (user) for (const path of [directory, file]) chownSync(path, user.uid, user.gid);
  const url = Object.assign(new URL(databaseUrl), { port: String(port) }).href;
  const pgbouncer = await ServerProcess.start({
    command,
    args: [file],
    user,
    stopSignal: 'SIGINT',
    isReady: () => respondsToSql(url),
  });
  return asTestServer(pgbouncer, url, port!, directory);
}
