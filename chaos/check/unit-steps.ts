/** How many units a reservation takes over its life, as steps in the order of its events. */
import { isLiving, type Life } from './case.ts';

/** A change of the number of units. */
export interface UnitStep {
  event: number;
  atMs: number;
  units: number;
}

type UnitsIn = (items: Life['row']['items']) => number;

/** Units that the buyer has. */
export function ownedSteps(life: Life, unitsIn: UnitsIn): UnitStep[] {
  return stepsOf(life, ({ state, items }) => (isLiving(state) ? unitsIn(items) : 0));
}

/**
 * Units that nobody else can have. Those that left the sale stay taken, so that the loaded units need not be reduced at
 * the same moment.
 */
export function takenSteps(life: Life, unitsIn: UnitsIn): UnitStep[] {
  let withdrawn = 0;
  return stepsOf(life, ({ state, items, cut, isWithdrawal }) => {
    if (isWithdrawal) withdrawn += unitsIn(cut.length > 0 ? cut : items);
    return withdrawn + (isLiving(state) ? unitsIn(items) : 0);
  });
}

/** The units that cancellations took out of the sale. */
export function withdrawnUnits({ stages }: Life, unitsIn: UnitsIn): number {
  return stages
    .filter(({ isWithdrawal }) => isWithdrawal)
    .reduce((sum, { cut, items }) => sum + unitsIn(cut.length > 0 ? cut : items), 0);
}

function stepsOf({ stages }: Life, unitsAt: (stage: Life['stages'][number]) => number): UnitStep[] {
  let before = 0;
  return stages.flatMap((stage) => {
    const change = unitsAt(stage) - before;
    before += change;
    return change === 0 ? [] : [{ event: stage.event, atMs: stage.fromMs, units: change }];
  });
}
