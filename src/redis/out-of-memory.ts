/** How a full Redis refuses: before the first write, since no script of ours that adds anything may go on then. */
import type { Fault } from '../domain/fault.ts';

/** Nothing was done, and it may be asked again. */
export function isOutOfMemory({ cause }: Fault): boolean {
  return cause instanceof Error && cause.message.startsWith('OOM');
}
