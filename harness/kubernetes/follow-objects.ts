/** Follows the objects of one kind on an API server, also after its connection was lost. */
import { type KubeConfig, type KubernetesObject, makeInformer } from '@kubernetes/client-node';
import type { Scope } from '../use.ts';
import { use } from '../use.ts';

const RETRY_MS = 1_000;

export interface FollowedObjects<T extends KubernetesObject> {
  config: KubeConfig;
  /** Such as `/api/v1/namespaces/flash-sale/pods`. */
  path: string;
  list: () => Promise<{ items: T[] }>;
  labelSelector?: string;
  /** Called for each object at the start, and at each change of it. `all` are those that exist now. */
  onChange: (object: T, all: readonly T[]) => void;
}

/** Resolves when the objects that exist were reported. Ends with the scope. */
export function followObjects<T extends KubernetesObject>(
  scope: Scope,
  { config, path, list, labelSelector, onChange }: FollowedObjects<T>,
): Promise<void> {
  let retry: NodeJS.Timeout | undefined;
  let isStopped = false;
  const informer = makeInformer<T>(config, path, list, labelSelector);
  for (const event of ['add', 'update', 'delete'] as const) {
    informer.on(event, (object) => onChange(object, informer.list()));
  }
  // Stopping it counts as an error too.
  informer.on('error', () => {
    if (isStopped) return;
    clearTimeout(retry);
    retry = setTimeout(() => void informer.start(), RETRY_MS);
  });
  return use(
    scope,
    () => informer.start(),
    () => {
      isStopped = true;
      clearTimeout(retry);
      return informer.stop();
    },
  );
}
