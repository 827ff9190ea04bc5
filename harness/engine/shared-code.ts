/**
 * Processes of the engine start often in a test run, and each would strip and compile the same files. They share the
 * result through a folder: a start then costs about half the CPU time.
 */
import { mkdirSync } from 'node:fs';

const HOOK = new URL('stripped-types.mjs', import.meta.url).href;

/** Makes this process' children share their code through the folder. */
export function shareCode(folder: string): void {
  mkdirSync(folder, { recursive: true });
  // Node itself keeps compiled code there.
  process.env.NODE_COMPILE_CACHE = folder;
  const options = [
    process.env.NODE_OPTIONS,
    '--disable-warning=ExperimentalWarning',
    `--import=${HOOK}`,
  ];
  process.env.NODE_OPTIONS = options.filter(Boolean).join(' ');
}

/** The variables for a child that gets an environment of its own; none outside of a test run. */
export function sharedCode(): Record<string, string> {
  const { NODE_COMPILE_CACHE: folder, NODE_OPTIONS: options } = process.env;
  if (folder === undefined || options === undefined) return {};
  return { NODE_COMPILE_CACHE: folder, NODE_OPTIONS: options };
}
