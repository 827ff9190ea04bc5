/** What a million buyers take is worked out from what was measured, and the document says what is worked out. */
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

  it('counts cores for refusals, of which no more than seven tenths are used', () => {
    assert.equal(size.hotPathsWarm, 10);
    assert.equal(size.hotPathsCold, 20);
  });

  it('counts bytes both ways, with a packet around each', () => {
    assert.equal(size.gbitInPerSecond, 4);
    assert.equal(size.gbitOutPerSecond, 3);
  });

  it('takes the one thread of a shard for the bound of a sale', () => {
    assert.equal(size.winsPerSecond, 200_000);
    assert.equal(size.sellOutSeconds, 0.5);
    assert.equal(size.refusalsByRedisPerSecond, 400_000);
  });

  it('lets front ends know who has something when they have asked, and Redis has answered all', () => {
    // 20 front ends have 2,000,000 buyers read; Redis can tell 10,000,000 a second, one front end asks for 200,000.
    assert.equal(size.knownSeconds, 0.5);
    const many = sizeOf(COSTS, { buyersPerSecond: 10_000_000, units: 100_000 });
    assert.equal(many.hotPathsCold, 199);
    assert.equal(many.knownSeconds.toFixed(6), '1.990000');
  });

  it('leaves to PostgreSQL what was sold, and nothing else', () => {
    assert.equal(size.drainSeconds, 2);
    assert.equal(size.redisMiB, 97.65625);
  });

  it('wants shards only where everybody wins', () => {
    assert.equal(size.shards, 5);
    assert.equal(size.hotPathsWinning, 30);
    assert.equal(size.drainAllSeconds, 20);
  });
});

describe('what one request costs', () => {
  it('is found in the results', () => {
    const found = costsOf({
      throughput: [
        result('win', { [ENGINE]: { serverMicros: 13.75, redisMicros: 3.5 } }),
        result('win-cold', { [ENGINE]: { serverMicros: 20.75 } }),
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

  it('is missing by name where it was not measured', () => {
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
    it(`says in "${name}" what the kept results make`, () => {
      const document = readFileSync(new URL('../../docs/PERFORMANCE.md', import.meta.url), 'utf8');
      const said = new RegExp(`<!-- ${name} -->(.*)<!-- /${name} -->`, 's').exec(document)?.[1];
      assert.equal(said?.trim(), text, 'npm run bench:growth -- --write');
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

  it('answers everybody once and sells what there is', () => {
    const { won, refused, soldOutMs } = simulateRush(choices);
    assert.equal(won, 10_000);
    assert.equal(refused, 90_000);
    assert.ok(soldOutMs !== undefined && soldOutMs >= 35, `${soldOutMs} ms`);
  });

  it('is the same again from the same seed', () => {
    const far = { ...choices, buyers: 1_000_000 };
    assert.deepEqual(simulateRush(far), simulateRush(far));
  });

  it('lasts as long as its buyers come where there are front ends enough', () => {
    assert.equal(simulateRush(choices).finishedMs, 1_000);
  });

  it('lasts as long as front ends work where there are not', () => {
    const many = { ...choices, buyers: 2_000_000, hotPaths: 2, units: 1 };
    const { finishedMs, hotPathSeconds } = simulateRush(many);
    // About a million refusals each, of 13.875 µs with the token.
    assert.ok(finishedMs >= 13_850 && finishedMs < 14_200, `${finishedMs} ms`);
    assert.ok(hotPathSeconds >= 27.75 && hotPathSeconds < 28.2, `${hotPathSeconds} s`);
  });

  it('lasts as long as Redis decides where everybody wins', () => {
    const all = { ...choices, withinMs: 1, units: 100_000, hotPaths: 16 };
    const { finishedMs, won, soldOutMs } = simulateRush(all);
    assert.equal(won, 100_000);
    assert.equal(soldOutMs, finishedMs);
    assert.ok(finishedMs >= 350 && finishedMs < 400, `${finishedMs} ms`);
  });

  it('sends away whoever would wait too long, and serves them later', () => {
    const slow = { ...COSTS, redisWinMicros: 100, redisRefusalMicros: 100 };
    const { retries, won, refused } = simulateRush({ ...choices, costs: slow, hotPaths: 1 });
    assert.ok(retries > 0);
    assert.equal(won + refused, 100_000);
  });
});

describe('points along a line', () => {
  it('end where the machine does', () => {
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
