/**
 * Each variant breaks one text of the engine. A change of that text fails here, so that the variant is changed with it.
 */
import { test } from 'node:test';
import { VARIANTS } from '../../chaos/variants/variants.ts';
import { makeBrokenCopy } from '../../harness/engine/broken-copy.ts';

for (const { name, mistake } of VARIANTS) {
  test(`the variant applies: ${name}`, () => makeBrokenCopy(mistake).remove());
}
