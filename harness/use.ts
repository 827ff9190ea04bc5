/**
 * How a test starts a resource and gets rid of it. Each start registers how to stop the resource; when the test or the
 * file ends, all are stopped in reverse order. A test file starts what its tests share at its top, with `await`. If such
 * a start fails, everything started before it is stopped and the file fails with the reason.
 */
import { after } from 'node:test';

/** How long a resource lives: a test's context, or `FILE`. A command session fits too. */
export interface Scope {
  after(undo: () => unknown): void;
}
export const FILE: Scope = { after };

const UNDOS = new WeakMap<Scope, (() => unknown)[]>();

type Stoppable = { stop(): unknown } | { close(): unknown } | { end(): unknown };

/**
 * Starts a resource and stops it with the scope: by `undo`, or else by its `stop`, `close` or `end`. The scope gets one
 * hook only, because Node runs hooks in the order of registration, and none in a file that failed at its top.
 */
export function use<T extends Stoppable>(scope: Scope, start: () => T | Promise<T>): Promise<T>;
export function use<T>(
  scope: Scope,
  start: () => T | Promise<T>,
  undo: (started: T) => unknown,
): Promise<T>;
export async function use<T>(
  scope: Scope,
  start: () => T | Promise<T>,
  undo: (started: T) => unknown = (started) => stop(started as Stoppable),
): Promise<T> {
  let undos = UNDOS.get(scope);
  if (!undos) {
    const mine: (() => unknown)[] = [];
    UNDOS.set(scope, mine);
    scope.after(() => undoAll(mine));
    undos = mine;
  }
  try {
    const started = await start();
    undos.push(() => undo(started));
    return started;
  } catch (error) {
    // Failures to stop are consequences of the first failure, which is the one to report.
    await undoAll(undos).catch(() => undefined);
    throw error;
  }
}

function stop(started: Stoppable): unknown {
  if ('stop' in started) return started.stop();
  return 'close' in started ? started.close() : started.end();
}

async function undoAll(undos: (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (let undo = undos.pop(); undo; undo = undos.pop()) {
    try {
      await undo();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'not everything could be stopped');
}
