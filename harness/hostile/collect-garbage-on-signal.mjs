/** Preloaded into a process of the engine: SIGUSR2 collects its garbage, so that its memory can be compared. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
process.on('SIGUSR2', () => {
  collect();
  setImmediate(() => collect());
});
