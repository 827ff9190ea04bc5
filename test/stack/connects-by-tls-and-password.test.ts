/**
 * All three processes work with Redis and PostgreSQL over TLS and with passwords. A server with an untrusted
 * certificate, or a wrong password, is reported and not used. No password or token is ever logged.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Redis } from 'ioredis';
import postgres from 'postgres';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { JWT_SECRET, tokenOf } from '../../harness/engine/hot-path.ts';
import { sharedCode } from '../../harness/engine/shared-code.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCertificates } from '../../harness/servers/certificates.ts';
import { type TestPostgres, usePostgres } from '../../harness/servers/postgres.ts';
import { useRedis } from '../../harness/servers/redis.ts';
import { FILE, use } from '../../harness/use.ts';
import { readAdminConfig, readHotPathConfig, readPersisterConfig } from '../../src/config.ts';
import { findFreePorts } from '../../src/process/free-port.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');

/** With characters that must be encoded in a URL. */
const PASSWORDS = { redis: 'r3dis:s3cret/@#', postgres: 'p0stgres:s3cret?&%' };
const OPERATOR_TOKEN = 'operator-token-that-stays-secret';
const SECRETS = [...Object.values(PASSWORDS), OPERATOR_TOKEN, JWT_SECRET].flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
]);

const certificates = await useCertificates(FILE);
const [redisPort] = (await findFreePorts(1)) as [number];
const tls = {
  port: String(redisPort),
  'cert-file': certificates.certificate,
  'key-file': certificates.key,
  'ca-cert-file': certificates.authority,
  'auth-clients': 'no',
};
const redis = await useRedis(FILE, {
  args: Object.entries(tls).flatMap(([name, value]) => [`--tls-${name}`, value]),
});
const plain = new Redis(redis.url);
await plain.config('SET', 'requirepass', PASSWORDS.redis);
plain.disconnect();
const database = await usePostgres(FILE);
await requireTlsAndPassword(database);

/** Applies to the role `engine` only; the test's own role connects as before. */
async function requireTlsAndPassword(server: TestPostgres): Promise<void> {
  const sql = await use(FILE, () => postgres(server.url, { max: 1, onnotice: () => undefined }));
  const [row] = await sql<{ hbaFile: string }[]>`SELECT current_setting('hba_file') AS "hbaFile"`;
  const { hbaFile } = row!;
  const { uid, gid } = statSync(hbaFile);
  chownSync(certificates.key, uid, gid);
  chmodSync(certificates.key, 0o600);
  const rules = ['hostssl all engine 127.0.0.1/32 scram-sha-256', 'host all engine all reject'];
  writeFileSync(hbaFile, `${rules.join('\n')}\n${readFileSync(hbaFile, 'utf8')}`);
  await sql.unsafe(`CREATE ROLE engine LOGIN SUPERUSER PASSWORD '${PASSWORDS.postgres}'`);
  for (const [name, value] of [
    ['ssl_cert_file', certificates.certificate],
    ['ssl_key_file', certificates.key],
    ['ssl', 'on'],
  ]) {
    await sql.unsafe(`ALTER SYSTEM SET ${name} = '${value}'`);
  }
  await sql`SELECT pg_reload_conf()`;
}

interface Deviation {
  redisHost?: string;
  redisPassword?: string;
  postgresHost?: string;
  postgresPassword?: string;
  sslMode?: string;
  trusts?: boolean;
}

/** The environment of a process, correct except for what `deviation` changes. */
function environmentOf(deviation: Deviation = {}): Record<string, string> {
  const redisPassword = encodeURIComponent(deviation.redisPassword ?? PASSWORDS.redis);
  const postgresPassword = encodeURIComponent(deviation.postgresPassword ?? PASSWORDS.postgres);
  return {
    REDIS_URL: `rediss://:${redisPassword}@${deviation.redisHost ?? 'localhost'}:${redisPort}`,
    DATABASE_URL: `postgres://engine:${postgresPassword}@${deviation.postgresHost ?? 'localhost'}:${database.port}/flash_sale?sslmode=${deviation.sslMode ?? 'verify-full'}`,
    JWT_SECRET,
    ADMIN_TOKENS: `operator:${OPERATOR_TOKEN}`,
    LOG_LEVEL: 'trace',
    ...(deviation.trusts === false ? {} : { NODE_EXTRA_CA_CERTS: certificates.authority }),
  };
}

function assertContainsNoSecret(output: string): void {
  for (const secret of SECRETS)
    assert.ok(!output.includes(secret), `a secret was written: ${output}`);
}

test('all processes work over TLS with passwords, and log none of them', async (t) => {
  const environment = environmentOf();
  const [hotPath, admin, persister] = await Promise.all(
    (['hot-path', 'admin', 'persister'] as const).map((name) =>
      useEngineProcess(t, name, environment).then((engine) => engine.untilReady()),
    ),
  );
  const callAdmin = (method: string, path: string, body?: object) =>
    fetch(`${admin!.url}/admin/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${OPERATOR_TOKEN}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  const skus = [{ sku: 'phone', price: 1, stock: 5 }];
  await callAdmin('POST', '/sales', { saleId: 'private', name: 'Private', currency: 'EUR', skus });
  assert.equal((await callAdmin('POST', '/sales/private/open')).status, 200);
  const token = tokenOf('ada');
  const bought = await fetch(`${hotPath!.url}/v1/sales/private/buy`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  assert.equal(bought.status, 201);
  await eventually(async () => {
    const found = (await (await callAdmin('GET', '/reservations?saleId=private')).json()) as {
      data: unknown[];
    };
    assert.equal(found.data.length, 1);
  });
  for (const engine of [hotPath!, admin!, persister!]) {
    await engine.stop();
    assert.notEqual(engine.output, '', 'the process has logged something');
    assertContainsNoSecret(engine.output);
    assert.ok(!engine.output.includes(token), 'no buyer’s token is logged');
  }
});

const NOT_REDIS: Record<string, [deviation: Deviation, message: RegExp]> = {
  'whose authority is unknown': [{ trusts: false }, /self.signed certificate|unable to verify/i],
  'that has another name': [{ redisHost: '127.0.0.1' }, /does not match certificate|altnames/i],
  'that needs another password': [{ redisPassword: 'wr0ng:s3cret' }, /WRONGPASS/],
};
for (const [what, [deviation, message]] of Object.entries(NOT_REDIS)) {
  test(`a Redis ${what} is not used, and the reason is logged`, async (t) => {
    const hotPath = await useEngineProcess(t, 'hot-path', environmentOf(deviation));
    await eventually(() => assert.match(hotPath.output, message), { timeoutMs: 20_000 });
    // The hot path listens when Redis is ready, or two seconds after its start without it.
    assert.deepEqual(await hotPath.missing().catch(() => ['redis']), ['redis']);
    assertContainsNoSecret(hotPath.output);
    assert.ok(!hotPath.output.includes('wr0ng'));
  });
}

/** The output and exit code of a command that needs PostgreSQL. */
function migrate(t: TestContext, deviation: Deviation): { code: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'migrate'], {
    env: { PATH: process.env.PATH, ...sharedCode(), ...environmentOf(deviation) },
    encoding: 'utf8',
    timeout: 30_000,
  });
  t.diagnostic(stderr);
  return { code: status, output: stdout + stderr };
}

const POSTGRES: Record<string, [deviation: Deviation, isUsed: boolean, message?: RegExp]> = {
  'by verify-full, with its own name': [{}, true],
  'by verify-full, with another name': [{ postgresHost: '127.0.0.1' }, false, /altnames/i],
  'by verify-full, by an unknown authority': [{ trusts: false }, false, /certificate/],
  'by verify-ca, by an unknown authority': [{ trusts: false, sslMode: 'verify-ca' }, false],
  // As in libpq: encrypted, but the server is not verified.
  'by require, by an unknown authority': [{ trusts: false, sslMode: 'require' }, true],
  'without TLS': [{ sslMode: 'disable' }, false, /pg_hba.conf rejects/],
  'with a wrong password': [{ postgresPassword: 'wr0ng:s3cret' }, false, /password authentication/],
};
for (const [what, [deviation, isUsed, message]] of Object.entries(POSTGRES)) {
  test(`a PostgreSQL ${what} is ${isUsed ? '' : 'not '}used`, (t) => {
    const { code, output } = migrate(t, deviation);
    assert.equal(code, isUsed ? 0 : 1, output);
    if (message) assert.match(output, message);
    assertContainsNoSecret(output);
    assert.ok(!output.includes('wr0ng'));
  });
}

test('an invalid environment is reported without its secrets', () => {
  for (const broken of [
    { REDIS_URL: `redis://:${PASSWORDS.redis}@` },
    { REDIS_URL: `http://:${encodeURIComponent(PASSWORDS.redis)}@localhost` },
    { DATABASE_URL: `postgres://engine:${PASSWORDS.postgres}@localhost/x` },
    { DATABASE_URL: `mysql://engine:${encodeURIComponent(PASSWORDS.postgres)}@localhost/x` },
    { ADMIN_TOKENS: `emperor:${OPERATOR_TOKEN}` },
    { ADMIN_TOKENS: OPERATOR_TOKEN },
    { JWT_SECRET: JWT_SECRET.slice(0, 20) },
  ]) {
    const environment = { ...environmentOf(), ...broken };
    const messages = [readHotPathConfig, readAdminConfig, readPersisterConfig].flatMap((read) => {
      try {
        read(environment);
        return [];
      } catch (error) {
        return [String(error)];
      }
    });
    assert.notDeepEqual(messages, [], Object.keys(broken)[0]);
    assertContainsNoSecret(messages.join('\n'));
    assert.ok(!messages.join('\n').includes(JWT_SECRET.slice(0, 20)));
  }
});
