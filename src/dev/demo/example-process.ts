/** Runs a process of examples/, restarts it if it ends, and waits until it accepts requests. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Fault } from '../../domain/fault.ts';
import { ProcessLog } from '../../process/supervisor/process-log.ts';
import { SupervisedProcess } from '../../process/supervisor/supervised-process.ts';
import { locateHome } from '../stack/home.ts';

export const HOST = '127.0.0.1';
const EXAMPLES = new URL('../../../examples/', import.meta.url);
const READY_DEADLINE_MS = 15_000;
const POLL_INTERVAL_MS = 50;
const STOP_DEADLINE_MS = 5_000;

export interface ExamplePlan {
  /** Its folder in examples/, which has a `main.ts`. */
  name: string;
  port: number;
  env: NodeJS.ProcessEnv;
  isReady: () => Promise<boolean>;
}

/** Returns how to stop it. */
export async function startExample(
  { name, port, env, isReady }: ExamplePlan,
  stopping: AbortSignal,
): Promise<() => Promise<void>> {
  const log = new ProcessLog(locateHome(process.env).logs, name);
  const example = new SupervisedProcess(
    {
      name,
      kind: 'node',
      command: process.execPath,
      args: [fileURLToPath(new URL(`${name}/main.ts`, EXAMPLES))],
      env: { PATH: process.env.PATH, HOST, PORT: String(port), ...env },
      stopSignal: 'SIGTERM',
      stopDeadlineMs: STOP_DEADLINE_MS,
    },
    { log, onUnexpectedExit: (sentence) => console.error(sentence) },
  );
  example.start();
  const deadline = Date.now() + READY_DEADLINE_MS;
  while (!(await isReady())) {
    if (stopping.aborted || Date.now() > deadline) {
      await example.stop();
      stopping.throwIfAborted();
      throw new Fault('server_unfit', `The example ${name} did not start; see ${log.path}`);
    }
    await sleep(POLL_INTERVAL_MS);
  }
  return () => example.stop();
}
