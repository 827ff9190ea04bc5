/**
 * uWebSockets.js with a watch on it: how long the process takes from being called with a POST until it says the last of
 * its answer. Takes the library's place for the engine when that is started with `--import time-answers.ts`.
 *
 * SIGUSR2 writes what was measured since the last one to the file that TIMES_FILE names.
 */

import {
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  App as UntimedApp,
} from 'uWebSockets.js';
import { renameSync, writeFileSync } from 'node:fs';

export * from 'uWebSockets.js';

export interface Times {
  count: number;
  /** `[percent, µs]` */
  percentiles: [number, number][];
}

const STEP_US = 0.25;
/** Up to 10 ms; what is slower is counted as that. */
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
