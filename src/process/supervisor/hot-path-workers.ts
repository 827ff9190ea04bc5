/**
 * Runs several hot-path processes on one port and restarts each one that ends. All listen with SO_REUSEPORT, so the
 * kernel distributes connections over them.
 */
import { findFreePorts, requireFreePorts } from '../free-port.ts';
import type { RunningProcess } from '../lifecycle.ts';
import { WorkerMetrics } from '../metrics.ts';
import { MAIN_MODULE, SupervisedProcess } from './supervised-process.ts';

/** Less than the deadline of `runUntilStopped` in the supervisor, which waits for the workers. */
const STOP_DEADLINE_MS = 9_500;

/** @throws Fault port_taken; the workers themselves would silently share a taken port with its owner */
export async function startHotPathWorkers(
  { workers, host, port }: { workers: number; host: string; port: number },
  env: NodeJS.ProcessEnv,
): Promise<RunningProcess> {
  await requireFreePorts([{ variable: 'HOT_PATH_PORT', port, host }], 'flash-sale hot-path');
  const sharedPort = port || (await findFreePorts(1))[0]!;
  const metrics = new WorkerMetrics(() => processes);
  const processes: SupervisedProcess[] = Array.from({ length: workers }, (_, index) => {
    return new SupervisedProcess(
      {
        name: `hot-path-${index + 1}`,
        kind: 'node',
        command: process.execPath,
        args: [MAIN_MODULE, 'hot-path', '--share-port'],
        env: { ...env, HOT_PATH_WORKERS: '1', HOT_PATH_PORT: String(sharedPort) },
        stopSignal: 'SIGTERM',
        stopDeadlineMs: STOP_DEADLINE_MS,
      },
      {
        onUnexpectedExit: (sentence) => console.error(sentence),
        onMessage: (worker, message) => metrics.receive(worker, message),
      },
    );
  });
  for (const worker of processes) worker.start();
  return {
    close: async () => {
      await Promise.all(processes.map((worker) => worker.stop()));
    },
  };
}
