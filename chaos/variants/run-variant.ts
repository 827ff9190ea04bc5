/** Runs the scenario of a variant on a broken copy of the engine, or on the intact one. The engine has no switch for it. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestPostgres } from '../../harness/servers/postgres.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';
import { type RunReport, run } from '../run.ts';
import { Steps } from './steps.ts';
import type { Mistake, Variant } from './variant.ts';
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
  const { stock, holdSeconds, skuLimit, durability = 'safe' } = variant;
  const unit = { sku: 'unit', price: 1_000, stock };
  const seed = VARIANTS.indexOf(variant) + 1;
  return run(
    { ...choices, mainModule, seed, durability, restMsMax, verifies: false },
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

export interface BrokenCopy {
  mainModule: string;
  remove(): void;
}

const REPOSITORY = join(import.meta.dirname, '../..');

/** Throws when the text does not occur exactly once; then the variant must be rewritten. */
export function makeBrokenCopy({ file, original, broken }: Mistake): BrokenCopy {
  const text = readFileSync(join(REPOSITORY, 'src', file), 'utf8');
  const count = text.split(original).length - 1;
  if (count !== 1)
    throw new Error(`src/${file} contains this text ${count} times instead of once:\n${original}`);
  const directory = mkdtempSync(join(tmpdir(), 'flash-sale-broken-'));
  cpSync(join(REPOSITORY, 'src'), join(directory, 'src'), { recursive: true });
  for (const name of ['package.json', 'node_modules', 'migrations']) {
    symlinkSync(join(REPOSITORY, name), join(directory, name));
  }
  writeFileSync(
    join(directory, 'src', file),
    text.replace(original, () => broken),
  );
  return {
    mainModule: join(directory, 'src', 'main.ts'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
