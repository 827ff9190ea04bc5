/** A bench that measures errors must not end with a number. */

/** Of two answers that ought to be the same; ids and times may differ by some bytes. */
const SIZE_DIFFERS_MAX = 0.03;

/** @throws when it is not so, with what was found instead. */
export function demand(isSo: boolean, found: string): asserts isSo {
  if (!isSo) throw new Error(`what was measured is not what was meant: ${found}`);
}

/** The ceiling has to answer as much as the engine does. */
export function demandSameSize(engineBytes: number, ceilingBytes: number): void {
  const difference = Math.abs(engineBytes / ceilingBytes - 1);
  demand(
    difference <= SIZE_DIFFERS_MAX,
    `the engine's answers have ${engineBytes} bytes, the ceiling's ${ceilingBytes}`,
  );
}
