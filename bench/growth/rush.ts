/**
 * Compares the model of a rush (sizing/rush.ts) with a real one: all buyers send together to one hot path. The model
 * gets the costs of a win and a refusal as measured just before, in the same round.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { saleKey } from '../../src/lua/keys.ts';
import { buyTemplate, runWrk } from '../load/wrk.ts';
import { countOutcomes } from '../measure/contestants.ts';
import { runRounds } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openTestbed, type Testbed } from '../measure/testbed.ts';
import { CONNECTIONS, WARM_BUYERS } from '../scenarios/win.ts';
import { simulateRush } from '../sizing/rush.ts';
import { getReady, type Ready, soldTurn } from './stock.ts';

const UNITS = 20_000;
/** Fewer than there are, because some requests arrive after the last one that counts. */
const BUYERS = WARM_BUYERS - 10_000;
const SECONDS_MAX = 60;
/** Often enough for a rush of one second. */
const LOOK_MS = 50;
const MEASURED = 'measured';
const SIMULATED = 'simulated';

export const rush: Scenario = {
  name: 'rush',
  title: 'A rush on one hot path',
  async run(options) {
    const testbed = await openTestbed({ apart: true, stopping: options.stopping });
    try {
      const ready = await getReady(testbed, options);
      const both = await runRounds(options, [MEASURED], async () => {
        const { serverMicros, redisMicros, ...others } = await soldTurn(testbed, ready, UNITS);
        const { finishedMs, hotPathSeconds } = simulateRush({
          buyers: BUYERS,
          withinMs: 1,
          units: UNITS,
          hotPaths: 1,
          seed: 1,
          // Every token is known.
          costs: {
            ...others,
            winMicros: serverMicros,
            redisWinMicros: redisMicros,
            signatureMicros: 0,
          },
        });
        const { seconds, cpuSeconds } = await rushOn(testbed, ready);
        return {
          seconds,
          cpuSeconds,
          simulatedSeconds: finishedMs / 1e3,
          simulatedCpuSeconds: hotPathSeconds,
        };
      });
      const rounds = both.map(({ [MEASURED]: found }) => {
        const { seconds, cpuSeconds, simulatedSeconds, simulatedCpuSeconds } = found!;
        return {
          [MEASURED]: { seconds: seconds!, cpuSeconds: cpuSeconds! },
          [SIMULATED]: { seconds: simulatedSeconds!, cpuSeconds: simulatedCpuSeconds! },
        };
      });
      return {
        settings: { buyers: BUYERS, units: UNITS, durability: testbed.durability },
        rounds,
        comparisons: [
          {
            what: 'time until every buyer has a response, simulated ÷ measured',
            metric: 'seconds',
            of: SIMULATED,
            over: MEASURED,
          },
          {
            what: 'hot path CPU, simulated ÷ measured',
            metric: 'cpuSeconds',
            of: SIMULATED,
            over: MEASURED,
          },
        ],
      };
    } finally {
      await testbed.close();
    }
  },
};

async function rushOn(testbed: Testbed, ready: Ready) {
  const saleId = await testbed.openSale({ stock: UNITS });
  const found = await sendAtOnce(testbed, ready, saleId);
  const sold = await testbed.servers.shards.of(saleId).client.llen(saleKey(saleId, 'order'));
  expect(sold === UNITS, `${sold} of ${UNITS} units were sold`);
  await testbed.removeSale(saleId);
  return found;
}

/** From the first response to the last, by the hot path's own count. */
async function sendAtOnce(testbed: Testbed, { process, buyers }: Ready, saleId: string) {
  const answered = async () => {
    const outcomes = [...(await countOutcomes(process)).values()];
    const count = outcomes.reduce((sum, each) => sum + each, 0);
    return { count, at: performance.now(), cpuSeconds: process.cpuSeconds() };
  };
  let before = await answered();
  const beforeAll = before.count;
  let startedAt: number | undefined;
  let cpuAtStart = 0;
  const isOver = new AbortController();
  const sending = runWrk({
    port: process.port,
    template: buyTemplate(saleId),
    file: buyers.file,
    seconds: SECONDS_MAX,
    connections: CONNECTIONS,
    repeats: false,
    cores: testbed.loadCores,
    stopping: AbortSignal.any([testbed.stopping, isOver.signal]),
  }).then(
    () => new Error(`not every buyer had a response after ${SECONDS_MAX} s`),
    (error: Error) => error,
  );
  try {
    for (;;) {
      const ended = await Promise.race([sending, sleep(LOOK_MS)]);
      if (ended) throw ended;
      const now = await answered();
      if (startedAt === undefined && now.count > beforeAll) {
        startedAt = before.at;
        cpuAtStart = before.cpuSeconds;
      }
      if (startedAt !== undefined && now.count - beforeAll >= BUYERS) {
        // Interpolates between two readings.
        const share = (beforeAll + BUYERS - before.count) / (now.count - before.count);
        const at = (from: number, to: number) => from + (to - from) * share;
        return {
          seconds: (at(before.at, now.at) - startedAt) / 1e3,
          cpuSeconds: at(before.cpuSeconds, now.cpuSeconds) - cpuAtStart,
        };
      }
      before = now;
    }
  } finally {
    isOver.abort();
    await sending;
  }
}
