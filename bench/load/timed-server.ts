/**
 * uWebSockets.js with a stopwatch: the time from the call of a POST handler to the end of its response. `node
 * --import` loads it, and it replaces uWebSockets.js for every other module.
 *
 * On SIGUSR2 it writes the measurements since the last signal to the file in TIMES_FILE.
 */

import {
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  App as UntimedApp,
} from 'uWebSockets.js';
import { renameSync, writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

export * from 'uWebSockets.js';

export interface Times {
  count: number;
  /** `[percent, µs]` */
  percentiles: [number, number][];
}

const STEP_US = 0.25;
/** The range ends at 10 ms; slower responses count as 10 ms. */
const STEPS = 40_000;
const PERCENTS = [1, 25, 50, 75, 90, 99, 99.9];

const counts = new Uint32Array(STEPS);

export function App(...options: Parameters<typeof UntimedApp>): TemplatedApp {
  const app = UntimedApp(...options);
  const post = app.post.bind(app);
  app.post = (pattern, handler) =>
    post(pattern, (response: HttpResponse, request: HttpRequest) => {
      const startedAt = performance.now();
      const end = response.end.bind(response);
      response.end = (...answer) => {
        const step = Math.floor(((performance.now() - startedAt) * 1e3) / STEP_US);
        counts[Math.min(step, STEPS - 1)]!++;
        return end(...answer);
      };
      return handler(response, request);
    });
  return app;
}

registerHooks({
  resolve(specifier, context, nextResolve) {
    const isReplaced = specifier === 'uWebSockets.js' && context.parentURL !== import.meta.url;
    return nextResolve(isReplaced ? import.meta.url : specifier, context);
  },
});

process.on('SIGUSR2', () => {
  const file = process.env.TIMES_FILE!;
  writeFileSync(`${file}.draft`, JSON.stringify(take()));
  renameSync(`${file}.draft`, file);
});

function take(): Times {
  const count = counts.reduce((sum, each) => sum + each, 0);
  const percentiles = PERCENTS.map((percent): [number, number] => {
    let [seen, step] = [counts[0]!, 0];
    while (seen < (count * percent) / 100 && step < STEPS - 1) seen += counts[++step]!;
    return [percent, (step + 1) * STEP_US];
  });
  counts.fill(0);
  return { count, percentiles };
}
