/** Each variant's mistake is one text in the engine: whoever changes that text learns here that a variant goes with it. */
import { test } from 'node:test';
import { breakCopy } from '../../chaos/broken-copy.ts';
import { VARIANTS } from '../../chaos/variants.ts';

for (const { name, mistake } of VARIANTS) {
  test(`the engine can be broken so: ${name}`, () => breakCopy(mistake).remove());
}
