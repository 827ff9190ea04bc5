/** Under `replicated`, a replica that no write waits for may be promoted without the latest decisions. The engine warns about it. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { pino } from 'pino';
import { eventually } from '../../harness/eventually.ts';
import { useShards } from '../../harness/servers/connections.ts';
import { useReplicated } from '../../harness/servers/replication.ts';

for (const [demanded, warnings] of [
  [1, 1],
  [2, 0],
] as const) {
  test(`writes wait for ${demanded} of 2 replicas: ${warnings} warnings`, async (t) => {
    const { master } = await useReplicated(t, { replicas: 2, demanded });
    const warned: string[] = [];
    const log = pino(
      { level: 'warn' },
      new Writable({
        write: (line, _encoding, done) => {
          // Not those about a replica that replied late.
          if (/replicas/.test(String(line))) warned.push(String(line));
          done();
        },
      }),
    );
    const shards = await useShards(t, master.url, {
      requirements: { DURABILITY: 'replicated', NODE_ENV: 'production' },
      log,
    });
    assert.equal(warned.length, warnings, warned.join(''));
    for (const line of warned) assert.match(line, /waits for 1 of 2 replicas.*write 2/);
    // Once, not at each new connection.
    shards.of('any').client.disconnect(true);
    await eventually(() => assert.equal(shards.isReady, false));
    await eventually(() => assert.ok(shards.isReady));
    assert.equal(warned.length, warnings, warned.join(''));
  });
}
