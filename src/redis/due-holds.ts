/**
 * Ends holds that are past their deadline and that no persister has ended. Any process may: each call is one atomic script.
 * A script that meets such a hold replies `holds_due` instead of a refusal that the deadline has made wrong.
 */
import { Fault } from '../domain/fault.ts';
import { newTag } from '../domain/identifiers.ts';
import { HOLDS_PER_CALL, sweep } from '../lua/buy/sweep.ts';
import type { Shards } from './shards.ts';

/** 10,000 holds. A caller that finds more due asks again. */
const CALLS_MAX = 200;
const ATTEMPTS_MAX = 5;

/** The calls in progress, by sale: concurrent callers of a process share one. */
const ENDING = new WeakMap<Shards, Map<string, Promise<void>>>();

/** Resolves when no hold is due, or after `CALLS_MAX`. Throws the faults of `Shards.call`. */
export function endDueHolds(shards: Shards, saleId: string): Promise<void> {
  let bySale = ENDING.get(shards);
  if (!bySale) {
    bySale = new Map();
    ENDING.set(shards, bySale);
  }
  let ending = bySale.get(saleId);
  if (!ending) {
    ending = sweepDue(shards, saleId).finally(() => bySale.delete(saleId));
    bySale.set(saleId, ending);
  }
  return ending;
}

async function sweepDue(shards: Shards, saleId: string): Promise<void> {
  let changes = 0;
  for (let calls = 0; calls < CALLS_MAX; calls++) {
    const reply = await shards.call(sweep, saleId, { most: HOLDS_PER_CALL, tag: newTag() });
    if (reply.outcome !== 'swept') break;
    changes += reply.expired + reply.served;
    if (reply.nextDueMs !== 0) break;
  }
  // Only a hint: hot paths show the units sooner.
  if (changes > 0) shards.publishChanged(saleId).catch(() => undefined);
}

/** Repeats the call after the due holds have ended. Throws `busy` if they do not end. */
export async function afterDueHolds<Reply extends { outcome: string }>(
  shards: Shards,
  saleId: string,
  call: () => Promise<Reply>,
): Promise<Exclude<Reply, { outcome: 'holds_due' }>> {
  for (let attempts = 0; attempts < ATTEMPTS_MAX; attempts++) {
    const reply = await call();
    if (reply.outcome !== 'holds_due') return reply as Exclude<Reply, { outcome: 'holds_due' }>;
    await endDueHolds(shards, saleId);
  }
  throw new Fault('busy', 'holds past their deadline did not end');
}
