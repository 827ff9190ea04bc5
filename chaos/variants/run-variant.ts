/** Runs the scenario of a variant on a broken copy of the engine, or on the intact one. The engine has no switch for it. */
import { makeBrokenCopy } from '../../harness/engine/broken-copy.ts';
import type { TestPostgres } from '../../harness/servers/postgres.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';
import { type RunReport, run } from '../run.ts';
import { Steps } from './steps.ts';
import type { Variant } from './variant.ts';
import { VARIANTS } from './variants.ts';

export interface VariantChoices {
  stopping?: AbortSignal;
  postgres: TestPostgres;
  /** For the logs of the processes. */
  directory: string;
}

/** A broken engine need not come to rest. */
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

/** Runs the scenario without the mistake. It must break nothing. */
export function runIntact(variant: Variant, choices: VariantChoices): Promise<RunReport> {
  return runOn(MAIN_MODULE, variant, choices, WHOLE_REST_MS_MAX);
}

function runOn(
  mainModule: string,
  variant: Variant,
  choices: VariantChoices,
  restMsMax: number,
): Promise<RunReport> {
  const { stock, holdSeconds, skuLimit, topology = 'single', durability = 'safe' } = variant;
  const unit = { sku: 'unit', price: 1_000, stock };
  const seed = VARIANTS.indexOf(variant) + 1;
  return run(
    {
      ...choices,
      mainModule,
      seed,
      durability,
      topology,
      restMsMax,
      verifies: false,
    },
    {
      terms: {
        perBuyerLimit: 3,
        holdSeconds,
        skus: [skuLimit === undefined ? unit : { ...unit, perBuyerLimit: skuLimit }],
      },
      act: async (context) => {
        const steps = new Steps(context);
        await variant.act(steps);
        const { losses, consumed, restore } = steps;
        return { losses, consumed, restore, calmAtMs: performance.now() };
      },
    },
  );
}
