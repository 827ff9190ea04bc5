/** The hot-path process: one event loop that serves buyers. */
import { readHotPathConfig } from '../config.ts';
import type { RunningProcess } from '../process/lifecycle.ts';
import { createLogger } from '../process/logger.ts';
import { startHotPath } from './hot-path.ts';

/** Throws `config_invalid` and `port_taken`. */
export async function runHotPath(options: { sharePort: boolean }): Promise<RunningProcess> {
  const config = readHotPathConfig(process.env);
  const log = createLogger('hot-path', config.LOG_LEVEL);
  return startHotPath(config, {
    sharePort: options.sharePort,
    log,
    onUnfit: (fault) => {
      log.fatal(fault.message);
      process.exit(1);
    },
  });
}
