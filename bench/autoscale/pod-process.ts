/**
 * A pod of one container as a process of this machine, with what a kubelet does for it: probes, restarts, `preStop`,
 * SIGTERM and the grace period. Each pod has an IP address of its own on the loopback device.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { V1Container, V1Pod, V1Probe } from '@kubernetes/client-node';
import { sharedCode } from '../../harness/engine/shared-code.ts';
import { recordProcess } from '../../harness/servers/process-records.ts';
import { cpuSecondsOf } from '../measure/process-cpu.ts';
import { CpuShare } from './cpu-share.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
/** What a node with the image takes until the process of a scheduled pod starts. */
const CONTAINER_START_MS = 2_000;
/**
 * Starting and compiling take as much CPU time as with a whole core. So a process has no limit until its startup probe
 * passes, and a larger one for this time after it.
 */
const COMPILING_MS = 15_000;
const COMPILING_TIMES = 4;

export interface PodState {
  /** `done`: the process has ended with 0, and it was not to run forever. */
  phase: 'starting' | 'running' | 'done';
  isStarted: boolean;
  isReady: boolean;
  restarts: number;
  /** When the last process started. */
  startedAt: Date | undefined;
}

export interface PodSetting {
  ip: string;
  environment: Record<string, string>;
  /** How many cores the container gets at most; undefined: as many as are free. */
  limit: (() => number) | undefined;
  onChange: () => void;
  onRestart: () => void;
}

export class PodProcess {
  readonly name: string;
  readonly ip: string;
  readonly state: PodState = {
    phase: 'starting',
    isStarted: false,
    isReady: false,
    restarts: 0,
    startedAt: undefined,
  };
  readonly #pod: V1Pod;
  readonly #container: V1Container;
  readonly #setting: PodSetting;
  readonly #share: CpuShare;
  /** That it requests. */
  readonly cores: number;
  #child: ChildProcess | undefined;
  #isStopping = false;
  #ended: Promise<void>;

  constructor(pod: V1Pod, setting: PodSetting) {
    this.#pod = pod;
    this.#setting = setting;
    this.name = pod.metadata!.name!;
    this.ip = setting.ip;
    this.#container = pod.spec!.containers[0]!;
    this.cores = requestedCores(pod);
    this.#share = new CpuShare(this.name, this.cores);
    this.#ended = this.#run();
  }

  get isLimited(): boolean {
    return this.#setting.limit !== undefined;
  }

  /** What the current process has used; undefined while none runs. */
  get cpuSeconds(): number | undefined {
    const pid = this.#child?.pid;
    if (pid === undefined || this.#child?.exitCode !== null) return undefined;
    return cpuSecondsOf(pid);
  }

  /** As when the pod is deleted. Resolves when the process is gone. */
  async stop(): Promise<void> {
    const graceMs = (this.#pod.spec!.terminationGracePeriodSeconds ?? 30) * 1_000;
    const deadlineMs = performance.now() + graceMs;
    const preStopMs = (this.#container.lifecycle?.preStop?.sleep?.seconds ?? 0) * 1_000;
    this.#isStopping = true;
    if (this.#child) await sleep(preStopMs);
    this.#child?.kill('SIGTERM');
    const late = setTimeout(() => void this.kill(), deadlineMs - performance.now());
    await this.#ended;
    clearTimeout(late);
  }

  /** At the end of the bench. */
  async kill(): Promise<void> {
    this.#isStopping = true;
    this.#child?.kill('SIGKILL');
    await this.#ended;
  }

  async #run(): Promise<void> {
    await sleep(CONTAINER_START_MS);
    const mayRestart = this.#pod.spec!.restartPolicy === 'Always';
    try {
      while (!this.#isStopping) {
        const code = await this.#runOnce();
        if (this.#isStopping) return;
        if (code === 0 && !mayRestart) {
          this.#change({ phase: 'done', isReady: false });
          return;
        }
        const restarts = this.state.restarts + 1;
        this.#setting.onRestart();
        this.#change({ restarts, phase: 'starting', isStarted: false, isReady: false });
        await sleep(CONTAINER_START_MS);
      }
    } finally {
      this.#share.remove();
    }
  }

  async #runOnce(): Promise<number | null> {
    const child = spawn(process.execPath, [MAIN, ...(this.#container.args ?? [])], {
      // A process for each address stands for the network of a pod.
      env: { PATH: process.env.PATH, ...sharedCode(), ...this.#setting.environment, HOST: this.ip },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    recordProcess(child);
    this.#child = child;
    this.#share.unlimit();
    this.#share.add(child.pid!);
    this.#change({ phase: 'running', startedAt: new Date() });
    const exited = once(child, 'exit').then(([code]) => code as number | null);
    void this.#probe(child);
    const code = await exited;
    this.#child = undefined;
    return code;
  }

  async #probe(child: ChildProcess): Promise<void> {
    const { startupProbe, readinessProbe, livenessProbe } = this.#container;
    if (startupProbe && !(await this.#untilStarted(child, startupProbe))) return;
    if (isOver(child)) return;
    const { limit } = this.#setting;
    if (limit) {
      this.#share.limitTo(COMPILING_TIMES * limit());
      setTimeout(() => !isOver(child) && this.#share.limitTo(limit()), COMPILING_MS);
    }
    this.#change({ isStarted: true, isReady: !readinessProbe });
    if (readinessProbe) {
      void this.#repeat(child, readinessProbe, (isReady) => this.#change({ isReady }));
    }
    if (livenessProbe) {
      void this.#repeat(child, livenessProbe, (isAlive) => !isAlive && child.kill('SIGKILL'));
    }
  }

  async #untilStarted(child: ChildProcess, probe: V1Probe): Promise<boolean> {
    for (let failures = 0; failures < (probe.failureThreshold ?? 3); failures++) {
      if (isOver(child)) return false;
      if (await this.#passes(probe)) return true;
      await sleep((probe.periodSeconds ?? 10) * 1_000);
    }
    child.kill('SIGKILL');
    return false;
  }

  /** Reports when the probe begins to pass or to fail, by its thresholds. */
  async #repeat(child: ChildProcess, probe: V1Probe, report: (passes: boolean) => void) {
    let passed: boolean | undefined;
    for (let failures = 0; !isOver(child); ) {
      const passes = await this.#passes(probe);
      failures = passes ? 0 : failures + 1;
      if (passes || failures >= (probe.failureThreshold ?? 3)) {
        if (passes !== passed && !isOver(child)) report(passes);
        passed = passes;
      }
      await sleep((probe.periodSeconds ?? 10) * 1_000);
    }
  }

  async #passes({ httpGet, timeoutSeconds }: V1Probe): Promise<boolean> {
    const { containerPort } = this.#container.ports!.find(({ name }) => name === httpGet!.port)!;
    try {
      const response = await fetch(`http://${this.ip}:${containerPort}${httpGet!.path}`, {
        signal: AbortSignal.timeout((timeoutSeconds ?? 1) * 1_000),
      });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }

  #change(change: Partial<PodState>): void {
    Object.assign(this.state, change);
    this.#setting.onChange();
  }
}

function isOver({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

export function requestedCores(pod: V1Pod): number {
  const quantity = pod.spec!.containers[0]!.resources?.requests?.cpu ?? '0';
  return quantity.endsWith('m') ? Number(quantity.slice(0, -1)) / 1_000 : Number(quantity);
}
