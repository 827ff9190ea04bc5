/** The servers of a topology change their roles as faults demand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTopology } from '../../chaos/topologies/start.ts';
import { eventually } from '../../harness/eventually.ts';
import { use } from '../../harness/use.ts';

for (const name of ['cluster', 'sentinel'] as const) {
  test(`${name}: an isolated master is replaced, and follows the new one when it is back`, async (t) => {
    const topology = await use(
      t,
      () =>
        startTopology(name, {
          command: undefined,
          hasClocks: false,
          appendfsync: 'always',
          saleId: 'isolated',
        }),
      (started) => started.stop(),
    );
    await topology.untilSettled();
    const old = await topology.master();
    topology.isolate(old);
    await eventually(async () => assert.notEqual((await topology.master()).name, old.name));
    assert.equal((await old.client.role())[0], 'master', 'it does not know');
    topology.heal();
    await topology.untilSettled();
    assert.equal((await old.client.role())[0], 'slave');

    const before = await topology.master();
    await topology.handOver();
    assert.notEqual((await topology.master()).name, before.name);
    await topology.untilSettled();
  });
}
