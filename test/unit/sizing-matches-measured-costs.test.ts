/** The sizing for a million buyers is computed from measured costs, and the document shows the computed values. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { reachable } from '../../bench/growth/connections.ts';
import { ENGINE } from '../../bench/measure/contestants.ts';
import { readResults, type ScenarioResult } from '../../bench/report/results.ts';
import { type RushChoices, simulateRush } from '../../bench/sizing/rush.ts';
import { type Costs, costsOf, rushText, sizeOf, sizingText } from '../../bench/sizing/sizing.ts';

const COSTS: Costs = {
  refusalMicros: 6.875,
  signatureMicros: 7,
  winMicros: 13.75,
  redisWinMicros: 3.5,
  redisRefusalMicros: 1.75,
  holderMicros: 0.07,
  rowsPerSecond: 50_000,
  bytesPerRequest: 434,
  bytesPerResponse: 309,
  bytesPerReservation: 2 ** 10,
};

describe('the size of a rush', () => {
  const size = sizeOf(COSTS, { buyersPerSecond: 1_000_000, units: 100_000 });

  it('plans cores for refusals at 0.7 utilization', () => {
    assert.equal(size.hotPathsWarm, 10);
    assert.equal(size.hotPathsCold, 20);
  });

  it('counts bytes both ways, with packet headers', () => {
    assert.equal(size.gbitInPerSecond, 4);
    assert.equal(size.gbitOutPerSecond, 3);
  });

  it('bounds a sale by the one thread of its shard', () => {
    assert.equal(size.winsPerSecond, 200_000);
    assert.equal(size.sellOutSeconds, 0.5);
    assert.equal(size.refusalsByRedisPerSecond, 400_000);
  });

  it('computes when hot paths know the holders: after all requests and replies', () => {
    // 20 hot paths read 2,000,000 buyers in total. Redis sends 10,000,000 a second, one hot path reads 200,000.
    assert.equal(size.knownSeconds, 0.5);
    const many = sizeOf(COSTS, { buyersPerSecond: 10_000_000, units: 100_000 });
    assert.equal(many.hotPathsCold, 199);
    assert.equal(many.knownSeconds.toFixed(6), '1.990000');
  });

  it('counts only sold units for PostgreSQL', () => {
    assert.equal(size.drainSeconds, 2);
    assert.equal(size.redisMiB, 97.65625);
  });

  it('needs shards only where every buyer wins', () => {
    assert.equal(size.shards, 5);
    assert.equal(size.hotPathsWinning, 30);
    assert.equal(size.drainAllSeconds, 20);
  });
});

describe('what one request costs', () => {
  it('is read from the results', () => {
    const found = costsOf({
      throughput: [
        result('win', { [ENGINE]: { serverMicros: 13.75, redisMicros: 3.5 } }),
        result('refusal', { [ENGINE]: { serverMicros: 8 } }),
        result('refusal-cold', { [ENGINE]: { serverMicros: 15 } }),
        result('persister', { persister: { rowsPerSecond: 50_000 } }),
        result('memory', { [ENGINE]: { bytesEach: 2 ** 10 } }),
      ],
      growth: [
        line('connections', {
          few: { serverMicros: 1, bytesPerRequest: 1, bytesPerResponse: 1 },
          many: { serverMicros: 6.875, bytesPerRequest: 434, bytesPerResponse: 309 },
        }),
        line('stock', { few: {}, many: { redisRefusalMicros: 1.75, holderMicros: 0.07 } }),
      ],
    });
    assert.deepEqual(found, { costs: COSTS });
  });

  it('is reported by name where it was not measured', () => {
    const found = costsOf({ throughput: [], growth: [] });
    assert.ok('missing' in found);
    assert.ok(found.missing.includes('connections (serverMicros)'), found.missing.join());
    assert.ok(found.missing.includes('memory (bytesEach)'), found.missing.join());
  });
});

describe('docs/PERFORMANCE.md', () => {
  const found = costsOf({
    throughput: readResults('throughput.json'),
    growth: readResults('growth.json'),
  });
  const expected =
    'missing' in found
      ? { sizing: '', 'simulated rush': '' }
      : { sizing: sizingText(found.costs), 'simulated rush': rushText(found.costs) };
  for (const [name, text] of Object.entries(expected)) {
    it(`shows in "${name}" the values of the recorded results`, () => {
      const document = readFileSync(new URL('../../docs/PERFORMANCE.md', import.meta.url), 'utf8');
      const documented = new RegExp(`<!-- ${name} -->(.*)<!-- /${name} -->`, 's').exec(
        document,
      )?.[1];
      assert.equal(documented?.trim(), text, 'npm run bench:growth -- --write');
    });
  }
});

describe('a simulated rush', () => {
  const choices: RushChoices = {
    buyers: 100_000,
    withinMs: 1_000,
    units: 10_000,
    hotPaths: 4,
    seed: 20_261_120,
    costs: COSTS,
  };

  it('gives every buyer one response and sells every unit', () => {
    const { won, refused, soldOutMs } = simulateRush(choices);
    assert.equal(won, 10_000);
    assert.equal(refused, 90_000);
    assert.ok(soldOutMs !== undefined && soldOutMs >= 35, `${soldOutMs} ms`);
  });

  it('is the same again from the same seed', () => {
    const far = { ...choices, buyers: 1_000_000 };
    assert.deepEqual(simulateRush(far), simulateRush(far));
  });

  it('lasts as long as buyers arrive if there are enough hot paths', () => {
    assert.equal(simulateRush(choices).finishedMs, 1_000);
  });

  it('lasts as long as hot paths work if there are not', () => {
    const many = { ...choices, buyers: 2_000_000, hotPaths: 2, units: 1 };
    const { finishedMs, hotPathSeconds } = simulateRush(many);
    // About a million refusals each, of 13.875 µs with the token.
    assert.ok(finishedMs >= 13_850 && finishedMs < 14_200, `${finishedMs} ms`);
    assert.ok(hotPathSeconds >= 27.75 && hotPathSeconds < 28.2, `${hotPathSeconds} s`);
  });

  it('lasts as long as Redis decides if every buyer wins', () => {
    const all = { ...choices, withinMs: 1, units: 100_000, hotPaths: 16 };
    const { finishedMs, won, soldOutMs } = simulateRush(all);
    assert.equal(won, 100_000);
    assert.equal(soldOutMs, finishedMs);
    assert.ok(finishedMs >= 350 && finishedMs < 400, `${finishedMs} ms`);
  });

  it('turns away buyers who would wait too long, and serves them later', () => {
    const slow = { ...COSTS, redisWinMicros: 100, redisRefusalMicros: 100 };
    const { retries, won, refused } = simulateRush({ ...choices, costs: slow, hotPaths: 1 });
    assert.ok(retries > 0);
    assert.equal(won + refused, 100_000);
  });
});

describe('points along a line', () => {
  it('end at the limit of the machine', () => {
    assert.deepEqual(reachable([100, 10_000, 100_000], 200_000), [100, 10_000, 100_000]);
    assert.deepEqual(reachable([100, 10_000, 100_000], 19_800), [100, 10_000, 19_000]);
    assert.deepEqual(reachable([100, 10_000, 100_000], 10_400), [100, 10_000]);
    assert.deepEqual(reachable([100, 10_000], 19_800), [100, 10_000]);
  });
});

type Medians = Record<string, Record<string, number>>;

function result(name: string, medians: Medians): ScenarioResult {
  const figures = Object.fromEntries(
    Object.entries(medians).map(([of, metrics]) => [
      of,
      Object.fromEntries(
        Object.entries(metrics).map(([metric, median]) => [
          metric,
          { median, low: median, high: median },
        ]),
      ),
    ]),
  );
  return {
    name,
    title: name,
    machine: { cpu: '', cores: 1, memoryGiB: 1, kernel: '', note: '' },
    versions: { date: '', commit: '', node: '' },
    rounds: 1,
    secondsEach: 1,
    settings: {},
    comparisons: [],
    figures,
  };
}

function line(name: string, medians: Medians): ScenarioResult {
  const at = Object.fromEntries(Object.keys(medians).map((point, index) => [point, index + 1]));
  return { ...result(name, medians), growth: { by: 'things', at } };
}
