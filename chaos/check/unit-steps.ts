/** How many units a reservation takes over its life, as steps in the order of its events. */
import { isLiving, type Life } from './case.ts';

/** A change of the number of units. */
export interface UnitStep {
  event: number;
  atMs: number;
  units: number;
}

/** Units that the buyer has. */
export function ownedSteps(life: Life, units: number): UnitStep[] {
  return stepsOf(life, units, ({ state }) => isLiving(state));
}

/**
 * Units that nobody else can have. Those that left the sale stay taken, so that the loaded units need not be reduced at
 * the same moment.
 */
export function takenSteps(life: Life, units: number): UnitStep[] {
  return stepsOf(life, units, ({ state, isWithdrawal }) => isLiving(state) || isWithdrawal);
}

function stepsOf(
  { stages }: Life,
  units: number,
  isTaken: (stage: Life['stages'][number]) => boolean,
): UnitStep[] {
  if (units === 0) return [];
  let wasTaken = false;
  return stages.flatMap((stage) => {
    const change = Number(isTaken(stage)) - Number(wasTaken);
    wasTaken = isTaken(stage);
    return change === 0 ? [] : [{ event: stage.event, atMs: stage.fromMs, units: change * units }];
  });
}
