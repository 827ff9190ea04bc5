/** A process whose own clock is wrong, as on a machine whose time service has failed. */
import { sharedCode } from './shared-code.ts';

const HOOK = new URL('wrong-clock.mjs', import.meta.url).href;

/** The variables for the environment of an engine process. */
export function wrongClock(offsetMs: number): Record<string, string> {
  const options = [sharedCode().NODE_OPTIONS, `--import=${HOOK}`].filter(Boolean).join(' ');
  return { NODE_OPTIONS: options, WRONG_CLOCK_MS: String(offsetMs) };
}
