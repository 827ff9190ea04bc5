/** Under `replicated`: a replica that need not vouch for a yes may be promoted without it, so operators are told. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { pino } from 'pino';
import { eventually } from '../../harness/eventually.ts';
import { startReplicated } from '../../harness/servers/replication.ts';
import { use } from '../../harness/use.ts';
import { Shards } from '../../src/redis/shards.ts';

for (const [demanded, warnings] of [
  [1, 1],
  [2, 0],
] as const) {
  test(`of two replicas ${demanded} must vouch: ${warnings} warnings`, async (t) => {
    const { master } = await use(t, () => startReplicated({ replicas: 2, demanded }));
    const said: string[] = [];
    const log = pino(
      { level: 'warn' },
      new Writable({
        write: (line, _encoding, done) => {
          said.push(String(line));
          done();
        },
      }),
    );
    const shards = await use(
      t,
      () =>
        new Shards({
          url: master.url,
          name: 'test',
          commandTimeoutMs: 1_000,
          requirements: { DURABILITY: 'replicated', NODE_ENV: 'production' },
          log,
          onUnfit: (fault) => {
            throw fault;
          },
        }),
    );
    await eventually(() => assert.ok(shards.isReady));
    assert.equal(said.length, warnings, said.join(''));
    for (const line of said) assert.match(line, /waits for 1 of 2 replicas.*write 2/);
    // Once, and not each time that a connection is made.
    shards.of('any').client.disconnect(true);
    await eventually(() => assert.equal(shards.isReady, false));
    await eventually(() => assert.ok(shards.isReady));
    assert.equal(said.length, warnings, said.join(''));
  });
}
