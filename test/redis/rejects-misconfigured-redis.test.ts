import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Redis } from 'ioredis';
import { eventually } from '../../harness/eventually.ts';
import { useRedis, withRedis } from '../../harness/servers/redis.ts';
import { follow, promote, useReplicated } from '../../harness/servers/replication.ts';
import { type Scope, use } from '../../harness/use.ts';
import { Fault } from '../../src/domain/fault.ts';
import { NEEDED } from '../../src/redis/acl.ts';
import { requireFit, type ServerRequirements } from '../../src/redis/server-requirements.ts';

const SAFE: ServerRequirements = { DURABILITY: 'safe', NODE_ENV: 'production' };

const FAST: ServerRequirements = { ...SAFE, DURABILITY: 'fast' };
const REPLICATED: ServerRequirements = { ...SAFE, DURABILITY: 'replicated' };

const UNFIT: [
  name: string,
  config: Record<string, string>,
  demands: ServerRequirements,
  pattern: RegExp,
][] = [
  [
    'one that evicts',
    { 'maxmemory-policy': 'allkeys-lru' },
    SAFE,
    /maxmemory-policy is allkeys-lru.*set maxmemory-policy noeviction/,
  ],
  ['one that persists nothing', { appendonly: 'no' }, SAFE, /appendonly is no.*set appendonly yes/],
  [
    'one that syncs too rarely for safe',
    { appendfsync: 'everysec' },
    SAFE,
    /appendfsync is everysec.*set appendfsync always/,
  ],
  [
    'one that syncs too rarely for fast',
    { appendfsync: 'no' },
    FAST,
    /appendfsync is no.*set appendfsync everysec/,
  ],
  ...[FAST, SAFE].map((demands): (typeof UNFIT)[number] => [
    `one that does not sync during a rewrite, under ${demands.DURABILITY}`,
    { 'no-appendfsync-on-rewrite': 'yes' },
    demands,
    /no-appendfsync-on-rewrite is yes.*set no-appendfsync-on-rewrite no/,
  ]),
  [
    'one without replicas for replicated',
    { 'min-replicas-to-write': '0' },
    REPLICATED,
    /min-replicas-to-write is 0.*set min-replicas-to-write 1/,
  ],
  [
    'one that never misses its replicas, for replicated',
    { 'min-replicas-max-lag': '0' },
    REPLICATED,
    /min-replicas-max-lag is 0.*set min-replicas-max-lag 10/,
  ],
  [
    'one with several shortcomings',
    { appendonly: 'no', 'maxmemory-policy': 'volatile-ttl' },
    SAFE,
    /noeviction.*appendonly yes/,
  ],
];

const USERS: [name: string, rules: string[], pattern?: RegExp][] = [
  ['a user that may not publish', ['+@all', '~fs:*'], /may not PUBLISH, SUBSCRIBE as .*&fs:\*/],
  ['a user without access to the keys', ['+@all', '&fs:*', '~other:*'], /may not EVAL.*ZREM as/],
  ['a user without one command', ['+@all', '-xadd', '~fs:*', '&fs:*'], /may not XADD as/],
  ['a user that may not run scripts', ['+@all', '-eval', '~fs:*', '&fs:*'], /may not EVAL as/],
  [
    'a user with exactly the documented permissions passes',
    ['~fs:*', '&fs:*', '+@all', '-@admin', '+config|get'],
  ],
];

test('a misconfigured server is refused with the settings to change', async (t) => {
  const server = await useRedis(t);
  const redis = await useClientOf(t, server.url);
  const fit = {
    appendonly: 'yes',
    appendfsync: 'always',
    'no-appendfsync-on-rewrite': 'no',
    'maxmemory-policy': 'noeviction',
    'min-replicas-to-write': '1',
    'min-replicas-max-lag': '10',
  };
  await requireFit(redis, SAFE);
  for (const [name, config, demands, pattern] of UNFIT) {
    await t.test(name, async () => {
      for (const [key, value] of Object.entries({ ...fit, ...config })) {
        await redis.config('SET', key, value);
      }
      await assert.rejects(
        () => requireFit(redis, demands),
        (error) =>
          error instanceof Fault && error.code === 'server_unfit' && pattern.test(error.message),
      );
    });
  }
  await t.test('weaker settings pass under fast and in development', async () => {
    await redis.config('SET', 'maxmemory-policy', 'noeviction');
    await redis.config('SET', 'appendonly', 'no');
    await requireFit(redis, { DURABILITY: 'safe', NODE_ENV: 'development' });
    await redis.config('SET', 'appendonly', 'yes');
    await redis.config('SET', 'appendfsync', 'everysec');
    await requireFit(redis, { DURABILITY: 'fast', NODE_ENV: 'production' });
  });
  await redis.config('SET', 'appendfsync', 'always');
  await redis.config('SET', 'min-replicas-to-write', '0');
  for (const [name, rules, pattern] of USERS) {
    await t.test(name, async (inner) => {
      await redis.acl('SETUSER', 'app', 'reset', 'on', '>pw', ...rules);
      const app = await useClientOf(inner, server.url, { username: 'app', password: 'pw' });
      const check = requireFit(app, SAFE);
      await (pattern ? assert.rejects(check, pattern) : check);
    });
  }
  await t.test('a replica', async (inner) => {
    const master = await useRedis(inner);
    await use(
      inner,
      () => redis.replicaof('127.0.0.1', master.port),
      () => redis.replicaof('NO', 'ONE'),
    );
    await assert.rejects(() => requireFit(redis, SAFE), /it is a slave, not a master/);
  });
});

function useClientOf(
  scope: Scope,
  url: string,
  options: { username?: string; password?: string } = {},
): Promise<Redis> {
  return use(
    scope,
    () => new Redis(url, options),
    (client) => client.disconnect(),
  );
}

test('a provider that forbids CONFIG passes, and what is unchecked is named', async (t) => {
  const server = await useRedis(t);
  const redis = await useClientOf(t, server.url);
  await redis.acl('SETUSER', 'app', 'on', '>pw', '~*', '&*', '+@all', '-config');
  const app = await useClientOf(t, server.url, { username: 'app', password: 'pw' });
  const { unchecked } = (await requireFit(app, SAFE))!;
  assert.deepEqual(unchecked, ['the settings, because CONFIG GET is forbidden']);
});

test('replicated: a replica that may be promoted must persist; an unreachable one is named', async (t) => {
  const { master, replicas } = await useReplicated(t);
  const redis = await useClientOf(t, master.url);
  // A replica that replies late counts as unreachable.
  await eventually(async () => {
    assert.deepEqual((await requireFit(redis, REPLICATED))!.unchecked, []);
  });
  for (const [name, wrong, right] of [
    ['appendonly', 'no', 'yes'],
    ['appendfsync', 'everysec', 'always'],
    ['replica-ignore-disk-write-errors', 'yes', 'no'],
  ] as const) {
    await withRedis(replicas[0]!.url, (one) => one.config('SET', name, wrong));
    const pattern = `on its replica 127.0.0.1:${replicas[0]!.port}, ${name} is ${wrong}.*set ${name}`;
    await eventually(() =>
      assert.rejects(() => requireFit(redis, REPLICATED), new RegExp(pattern)),
    );
    await withRedis(replicas[0]!.url, (one) => one.config('SET', name, right));
  }
  await withRedis(replicas[0]!.url, (one) => one.config('SET', 'requirepass', 'another'));
  const { unchecked } = (await requireFit(redis, REPLICATED))!;
  assert.match(String(unchecked), /^the replica 127\.0\.0\.1:\d+, because/);
});

test('replicated: a replica that copies its master’s data stops nobody', async (t) => {
  const { master, replicas } = await useReplicated(t, { replicas: 2, demanded: 1 });
  const redis = await useClientOf(t, master.url);
  // Incompressible, so that the replica replies several times while it loads them.
  for (let key = 0; key < 400; key++) await redis.set(`key-${key}`, randomBytes(1_000));
  const replica = replicas[1]!;
  await withRedis(replica.url, async (one) => {
    // Micros for each key, and replies meanwhile.
    await one.config('SET', 'key-load-delay', '5000');
    await one.config('SET', 'loading-process-events-interval-bytes', '1024');
  });
  await promote(replica);
  await follow(replica, master);
  const reasons = new Set<string>();
  const isInSync = () =>
    withRedis(replica.url, async (one) =>
      /^master_link_status:up/m.test(await one.info('replication')),
    );
  while (!(await isInSync())) {
    // One rejection fails the test.
    for (const reason of (await requireFit(redis, REPLICATED))!.unchecked) reasons.add(reason);
  }
  const behind = `the replica 127.0.0.1:${replica.port}, because it is not in sync with its master yet`;
  assert.ok(reasons.has(behind), [...reasons].join());
});

test('a file that was begun at run time is required to be complete', async (t) => {
  const server = await useRedis(t, { args: ['--appendonly', 'no'] });
  const redis = await useClientOf(t, server.url);
  const earlier = {};
  await assert.rejects(() => requireFit(redis, SAFE, earlier), /set appendonly yes/);
  await redis.set('key', 'value');
  await redis.config('SET', 'rdb-key-save-delay', '10000000');
  await redis.config('SET', 'appendonly', 'yes');
  await assert.rejects(
    () => requireFit(redis, SAFE, earlier),
    /first append-only file is incomplete/,
  );
  // Redis refuses to stop while it writes its first file, for ten seconds.
  await server.kill();
});

test('the required permissions include every command of a script', () => {
  const called = globSync('src/lua/**/*.lua').flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(/call\('([A-Z]+)'/g)].map(([, command]) => command!),
  );
  const needed = new Set(NEEDED.map(([command]) => command));
  assert.ok(called.length > 50);
  assert.deepEqual(
    called.filter((command) => !needed.has(command)),
    [],
  );
});
