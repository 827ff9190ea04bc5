/** What the controllers, the scheduler and the autoscaler read of a kubelet's report. */
import type { V1Pod, V1PodCondition } from '@kubernetes/client-node';
import type { PodProcess } from './pod-process.ts';

export class PodStatus {
  readonly #pod: V1Pod;
  readonly #startTime = new Date();
  /** By type, as last reported: a time of transition stays until the condition changes. */
  readonly #conditions = new Map<string, V1PodCondition>();

  constructor(pod: V1Pod) {
    this.#pod = pod;
  }

  of({ ip: podIP, state }: PodProcess): object {
    const { name, image } = this.#pod.spec!.containers[0]!;
    const { phase, isStarted, isReady, restarts, startedAt } = state;
    const isDone = phase === 'done';
    const scheduled = this.#pod.status?.conditions?.filter(({ type }) => type === 'PodScheduled');
    return {
      phase: isDone ? 'Succeeded' : startedAt ? 'Running' : 'Pending',
      podIP,
      podIPs: [{ ip: podIP }],
      startTime: this.#startTime,
      conditions: [
        ...(scheduled ?? []),
        this.#condition('Initialized', true),
        this.#condition('ContainersReady', isReady),
        this.#condition('Ready', isReady),
      ],
      containerStatuses: [
        {
          name,
          image,
          imageID: image,
          ready: isReady,
          started: isStarted,
          restartCount: restarts,
          state: isDone
            ? { terminated: { exitCode: 0, startedAt, finishedAt: new Date() } }
            : phase === 'running'
              ? { running: { startedAt } }
              : { waiting: { reason: restarts > 0 ? 'CrashLoopBackOff' : 'ContainerCreating' } },
        },
      ],
    };
  }

  #condition(type: string, holds: boolean): V1PodCondition {
    const status = holds ? 'True' : 'False';
    const last = this.#conditions.get(type);
    if (last?.status === status) return last;
    const condition = { type, status, lastTransitionTime: new Date() };
    this.#conditions.set(type, condition);
    return condition;
  }
}
