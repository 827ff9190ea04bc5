/**
 * `npm run docs:interface`: writes docs/interface.txt, what a release promises to keep. Changes nothing if the code has
 * lost a line of it, or if a request in it needs something new; `--accept` writes it nevertheless.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../harness/command/command-line.ts';
import { openCommandSession } from '../../harness/command/command-session.ts';
import { callAdmin, useApp } from '../../harness/engine/admin.ts';
import { useConnections } from '../../harness/servers/connections.ts';
import { usePostgres } from '../../harness/servers/postgres.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { brokenLines, interfaceLines } from './interface-lines.ts';

const FILE = join(import.meta.dirname, '../../docs/interface.txt');

const { accept } = command('docs:interface', 'Write what a release promises to keep.')
  .option('--accept', 'also changes that break users: for a major version')
  .parse()
  .opts<{ accept?: true }>();

const session = openCommandSession();
const [redis, postgres] = await Promise.all([useRedis(session), usePostgres(session)]);
const servers = await useConnections(session, redis.url, postgres.url);
const { body } = await callAdmin(await useApp(session, servers), 'GET //openapi.json', {
  as: null,
});
const lines = await interfaceLines(body, servers.sql);
await session.close();
const broken = brokenLines(readFileSync(FILE, 'utf8').split('\n').filter(Boolean), lines);
for (const line of broken) console.error(line);
if (broken.length > 0 && !accept) {
  console.error('docs/interface.txt is as before: only a major version may break this.');
  process.exitCode = 1;
} else {
  writeFileSync(FILE, `${lines.join('\n')}\n`);
  console.log(`docs/interface.txt has ${lines.length} lines.`);
}
