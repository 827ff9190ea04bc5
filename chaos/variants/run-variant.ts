/** Runs a variant's scenario, on the broken engine or on the one that there is. */

import type { TestPostgres } from '../../harness/servers/postgres.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';
import { type RunReport, run } from '../run.ts';
import { makeBrokenCopy } from './broken-copy.ts';
import { Stage, VARIANTS, type Variant } from './variants.ts';

export interface VariantChoices {
  stopping?: AbortSignal;
  postgres: TestPostgres;
  /** For the processes' logs. */
  directory: string;
}

/** A broken engine need not come to rest, and is not waited for. */
const BROKEN_REST_MS_MAX = 2_500;
const WHOLE_REST_MS_MAX = 20_000;

export async function runBroken(variant: Variant, choices: VariantChoices): Promise<RunReport> {
  const copy = makeBrokenCopy(variant.mistake);
  try {
    return await runOn(copy.mainModule, variant, choices, BROKEN_REST_MS_MAX);
  } finally {
    copy.remove();
  }
}

/** The scenario alone, which must break nothing. */
export function runIntact(variant: Variant, choices: VariantChoices): Promise<RunReport> {
  return runOn(MAIN_MODULE, variant, choices, WHOLE_REST_MS_MAX);
}

function runOn(
  mainModule: string,
  variant: Variant,
  choices: VariantChoices,
  restMsMax: number,
): Promise<RunReport> {
  const { stock, holdSeconds, durability = 'safe' } = variant;
  const seed = VARIANTS.indexOf(variant) + 1;
  return run(
    { ...choices, mainModule, seed, durability, restMsMax, verifies: false },
    {
      terms: { perBuyerLimit: 3, holdSeconds, skus: [{ sku: 'unit', price: 1_000, stock }] },
      act: async (scene) => {
        const stage = new Stage(scene);
        await variant.act(stage);
        return { losses: stage.losses, calmAtMs: performance.now() };
      },
    },
  );
}
