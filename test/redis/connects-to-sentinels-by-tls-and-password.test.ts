/** Sentinels that accept only TLS and have their own password, for a master with another password. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Redis } from 'ioredis';
import { useEngineProcess } from '../../harness/engine/engine-process.ts';
import { JWT_SECRET } from '../../harness/engine/hot-path.ts';
import { eventually } from '../../harness/eventually.ts';
import { useCertificates } from '../../harness/servers/certificates.ts';
import { redisCommand, supportsTls, useRedis } from '../../harness/servers/redis.ts';
import { ServerProcess } from '../../harness/servers/server-process.ts';
import { FILE, use } from '../../harness/use.ts';
import { findFreePorts } from '../../src/process/free-port.ts';
import { parseRedisUrl } from '../../src/redis/redis-url.ts';

const OF_MASTER = 'of the master: @/?&';
const OF_SENTINEL = 'of the sentinel: +%&=';

if (!supportsTls()) {
  console.log(`skipped: ${redisCommand()} was built without TLS`);
  process.exit(0);
}
const certificates = await useCertificates(FILE);
const [masterPort, sentinelPort] = (await findFreePorts(2)) as [number, number];
const TLS = {
  'cert-file': certificates.certificate,
  'key-file': certificates.key,
  'ca-cert-file': certificates.authority,
  'auth-clients': 'no',
};
const master = await useRedis(FILE, {
  args: Object.entries({ port: String(masterPort), ...TLS }).flatMap(([name, value]) => [
    `--tls-${name}`,
    value,
  ]),
});
const plain = new Redis(master.url);
await plain.config('SET', 'requirepass', OF_MASTER);
plain.disconnect();
await startSentinel();

async function startSentinel(): Promise<void> {
  const directory = await use(
    FILE,
    () => mkdtempSync(join(tmpdir(), 'flash-sale-test-sentinel-')),
    (made) => rmSync(made, { recursive: true }),
  );
  const file = join(directory, 'sentinel.conf');
  const lines = [
    'port 0',
    `tls-port ${sentinelPort}`,
    ...Object.entries(TLS).map(([name, value]) => `tls-${name} ${value}`),
    'tls-replication yes',
    'bind 127.0.0.1',
    `dir ${directory}`,
    `requirepass "${OF_SENTINEL}"`,
    // The certificates are valid for names only.
    'sentinel resolve-hostnames yes',
    'sentinel announce-hostnames yes',
    `sentinel monitor sale localhost ${masterPort} 1`,
    `sentinel auth-pass sale "${OF_MASTER}"`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const client = await use(
    FILE,
    () =>
      new Redis({
        host: 'localhost',
        port: sentinelPort,
        password: OF_SENTINEL,
        tls: { ca: readFileSync(certificates.authority) },
        lazyConnect: true,
      }),
    (sentinel) => sentinel.disconnect(),
  );
  client.on('error', () => undefined);
  await use(FILE, () =>
    ServerProcess.start({
      command: redisCommand(),
      args: [file, '--sentinel'],
      stopSignal: 'SIGTERM',
      isReady: async () => (await client.ping()) === 'PONG',
    }),
  );
}

function environmentOf(way: { scheme?: string; password?: string }): Record<string, string> {
  const { scheme = 'rediss+sentinel', password = OF_SENTINEL } = way;
  const [ofMaster, ofSentinel] = [OF_MASTER, password].map(encodeURIComponent);
  return {
    REDIS_URL: `${scheme}://:${ofMaster}@localhost:${sentinelPort}/sale?sentinelPassword=${ofSentinel}`,
    DURABILITY: 'fast',
    JWT_SECRET,
    NODE_EXTRA_CA_CERTS: certificates.authority,
    LOG_LEVEL: 'trace',
  };
}

test('a hot path finds the master through sentinels, and logs no password', async (t) => {
  const engine = await useEngineProcess(t, 'hot-path', environmentOf({}));
  await engine.untilReady();
  await engine.stop();
  for (const secret of [OF_MASTER, OF_SENTINEL].flatMap((text) => [
    text,
    encodeURIComponent(text),
  ])) {
    assert.ok(!engine.output.includes(secret), engine.output);
  }
});

for (const [what, way, cause] of [
  ['another password', { password: 'a guess' }, /unreachable.*WRONGPASS/],
  ['no TLS', { scheme: 'redis+sentinel' }, /unreachable/],
] as const) {
  test(`with ${what} it finds no master, and logs each cause once`, async (t) => {
    const engine = await useEngineProcess(t, 'hot-path', environmentOf(way));
    await eventually(async () => assert.deepEqual(await engine.missing(), ['redis']));
    const warnings = engine.output.match(/"reason":.*redis unavailable/g) ?? [];
    assert.ok(
      warnings.some((warning) => cause.test(warning)),
      engine.output,
    );
    assert.equal(new Set(warnings).size, warnings.length, 'each cause is logged once');
    assert.doesNotMatch(engine.output, /after \d+ms/);
  });
}

test('a sentinel URL without credentials yields no credentials', () => {
  const [one, two] = ['[::1]', 'sentinel-2:26380'];
  assert.deepEqual(parseRedisUrl(`redis+sentinel://${one}/sale,redis+sentinel://${two}`), [
    {
      name: 'sale',
      sentinels: [
        { host: '::1', port: 26_379 },
        { host: 'sentinel-2', port: 26_380 },
      ],
      failoverDetector: true,
    },
  ]);
});
