/** The admin starts while Redis and PostgreSQL are unavailable, and serves when they are available. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TOKENS } from '../../harness/engine/admin.ts';
import { eventually } from '../../harness/eventually.ts';
import { usePostgres } from '../../harness/servers/postgres.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE, use } from '../../harness/use.ts';
import { runAdmin } from '../../src/admin/main.ts';
import { Fault } from '../../src/domain/fault.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const redis = await useRedis(FILE);
const postgres = await usePostgres(FILE);
await Promise.all([redis.kill(), postgres.shutDown()]);
const [port] = await findFreePorts(1);
const url = `http://127.0.0.1:${port}`;
Object.assign(process.env, {
  REDIS_URL: redis.url,
  DATABASE_URL: postgres.url,
  ADMIN_PORT: String(port),
  ADMIN_TOKENS: `operator:${TOKENS.operator}`,
  LOG_LEVEL: 'silent',
});

const authorization = `Bearer ${TOKENS.operator}`;

async function readiness(): Promise<[status: number, missing: string[]]> {
  const response = await fetch(`${url}/readyz`);
  const { missing } = (await response.json()) as { missing: string[] };
  return [response.status, missing];
}

test('it starts without its servers, reports what is missing, and serves when they are available', async (t) => {
  const admin = await use(t, runAdmin);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  assert.deepEqual(await readiness(), [503, ['redis', 'postgres']]);
  const refused = await fetch(`${url}/admin/v1/sales`, { headers: { authorization } });
  assert.equal(refused.status, 503);
  assert.match(String(refused.headers.get('retry-after')), /^[1-5]$/);
  assert.equal(((await refused.json()) as { code: string }).code, 'unavailable');

  await redis.start();
  await postgres.start();
  await eventually(async () => assert.deepEqual(await readiness(), [200, []]), {
    timeoutMs: 30_000,
  });
  const served = await fetch(`${url}/admin/v1/sales`, { headers: { authorization } });
  assert.equal(served.status, 200);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  assert.match(metrics, /flash_sale_admin_http_request_seconds_count/);

  await assert.rejects(runAdmin(), (error) => {
    assert.ok(error instanceof Fault && error.code === 'port_taken');
    assert.match(error.message, /ADMIN_PORT=/);
    return true;
  });

  await admin.close();
  await assert.rejects(fetch(`${url}/healthz`));
});

test('an invalid environment is reported before anything starts', async () => {
  const { ADMIN_TOKENS } = process.env;
  process.env.ADMIN_TOKENS = 'owner:short';
  await assert.rejects(runAdmin(), /ADMIN_TOKENS/);
  process.env.ADMIN_TOKENS = ADMIN_TOKENS;
});
