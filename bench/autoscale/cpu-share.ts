/** The CPU time that the process of a pod may use, by a control group of Linux, version 1 or 2. Needs root. */
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';
/** Where version 1 is mounted, or a mixture of both versions. */
const VERSION_1 = join(ROOT, 'cpu');
/** Long enough that the smallest share is a millisecond of it, which Linux demands. */
const PERIOD_MICROS = 50_000;
/** What Kubernetes gives a container that requests one core. */
const WEIGHT_OF_CORE_V1 = 1_024;
const WEIGHT_OF_CORE_V2 = 39;

export class CpuShare {
  readonly #directory: string;
  readonly #isVersion1 = existsSync(VERSION_1);

  /** `cores`: what the pod requests, which decides its part of a busy machine. */
  constructor(name: string, cores: number) {
    this.#directory = join(this.#isVersion1 ? VERSION_1 : ROOT, `flash-sale-bench-${name}`);
    if (!this.#isVersion1) writeFileSync(join(ROOT, 'cgroup.subtree_control'), '+cpu');
    mkdirSync(this.#directory);
    if (this.#isVersion1) {
      this.#write('cpu.shares', Math.max(2, Math.round(cores * WEIGHT_OF_CORE_V1)));
      this.#write('cpu.cfs_period_us', PERIOD_MICROS);
    } else {
      this.#write('cpu.weight', Math.max(1, Math.round(cores * WEIGHT_OF_CORE_V2)));
    }
  }

  add(pid: number): void {
    this.#write('cgroup.procs', pid);
  }

  unlimit(): void {
    if (this.#isVersion1) this.#write('cpu.cfs_quota_us', -1);
    else this.#write('cpu.max', `max ${PERIOD_MICROS}`);
  }

  /** From now on its processes get at most this many cores. */
  limitTo(cores: number): void {
    const micros = Math.round(cores * PERIOD_MICROS);
    if (this.#isVersion1) this.#write('cpu.cfs_quota_us', micros);
    else this.#write('cpu.max', `${micros} ${PERIOD_MICROS}`);
  }

  /** Its processes must have ended. */
  remove(): void {
    rmdirSync(this.#directory);
  }

  #write(file: string, value: number | string): void {
    writeFileSync(join(this.#directory, file), String(value));
  }
}
