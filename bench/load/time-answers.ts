/** For `node --import`: the engine gets timed-server.ts for uWebSockets.js, and nothing else changes. */
import { registerHooks } from 'node:module';

const TIMED = new URL('timed-server.ts', import.meta.url).href;

registerHooks({
  resolve(specifier, context, nextResolve) {
    const isEngine = specifier === 'uWebSockets.js' && context.parentURL !== TIMED;
    return nextResolve(isEngine ? TIMED : specifier, context);
  },
});
