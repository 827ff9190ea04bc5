/** Each variant's mistake is one text in the engine: whoever changes that text learns here that a variant goes with it. */
import { test } from 'node:test';
import { makeBrokenCopy } from '../../chaos/variants/run-variant.ts';
import { VARIANTS } from '../../chaos/variants/variants.ts';

for (const { name, mistake } of VARIANTS) {
  test(`the engine can be broken so: ${name}`, () => makeBrokenCopy(mistake).remove());
}
