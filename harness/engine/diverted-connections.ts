/** A process that reaches servers through proxies of its own, although it finds them at the addresses they announce. */
import { sharedCode } from './shared-code.ts';

const HOOK = new URL('diverted-connections.mjs', import.meta.url).href;

/** The variables for the environment of an engine process. `ports`: from an announced port to the one to connect to. */
export function divertedConnections(ports: ReadonlyMap<number, number>): Record<string, string> {
  const options = [sharedCode().NODE_OPTIONS, `--import=${HOOK}`].filter(Boolean).join(' ');
  return { NODE_OPTIONS: options, DIVERTED_PORTS: JSON.stringify(Object.fromEntries(ports)) };
}
