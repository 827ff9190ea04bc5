/** `sale_ended` is final: nothing is decided after a buyer got it, and the end does not move any more. */
import type { Exchange } from '../clients/history.ts';
import { isArchived } from './archive.ts';
import type { Findings } from './case.ts';
import { describeResponse } from './responses.ts';
import type { Violation } from './violation.ts';

export function checkEnd(findings: Findings): Violation[] {
  return [...reopened(findings), ...otherEnd(findings)];
}

function reopened(findings: Findings): Violation[] {
  const violations: Violation[] = [];
  const end = firstEnd(findings);
  if (!end) return [];
  const when = `${new Date(end.endedMs).toISOString()} got sale_ended`;
  const late = (reservationId: string, reservedAtMs: number) => {
    if (reservedAtMs <= end.endedMs + findings.toleranceMs) return;
    const evidence = `${reservationId} was decided after a buyer at ${when}`;
    violations.push({ kind: 'reopened', evidence });
  };
  for (const { row } of findings.lives) late(row.reservationId, row.reservedAt.getTime());
  for (const [reservationId, sightings] of findings.sightingsOf) {
    if (findings.lifeOf.has(reservationId)) continue;
    late(reservationId, Date.parse(sightings[0]!.reservation.reservedAt));
  }
  for (const { request, startedMs, response } of findings.history.ofKind('move-end')) {
    const isMoved = response?.status === 200 && request.endsAtMs > end.endedMs;
    if (!isMoved || startedMs <= end.endedMs) continue;
    const evidence = `the end was moved after a buyer at ${when}`;
    violations.push({ kind: 'reopened', evidence });
  }
  return violations;
}

/** The first response `sale_ended`. */
function firstEnd({ history, losses, durability }: Findings): Exchange | undefined {
  // `fast` may lose the change of the end that the response was based on.
  const sinceMs = durability === 'fast' ? Math.max(0, ...losses.map(({ overMs }) => overMs)) : 0;
  const ends = history.exchanges.filter(
    ({ response, startedMs }) => response?.code === 'sale_ended' && startedMs > sinceMs,
  );
  return ends.sort((a, b) => a.endedMs - b.endedMs)[0];
}

/** Both servers have the end of the last change that was accepted. */
function otherEnd(findings: Findings): Violation[] {
  const { history, snapshot } = findings;
  const { redis, postgres } = snapshot;
  if (history.unsettled.some(({ kind }) => kind === 'move-end')) return [];
  const accepted = history.ofKind('move-end').findLast(({ response }) => response?.status === 200);
  const expected = accepted?.request.endsAtMs ?? null;
  const endInRedis = redis.sale.endsAt ? Number(redis.sale.endsAt) : null;
  const inRedis = isArchived(findings) ? expected : endInRedis;
  if (inRedis === expected && postgres.endsAtMs === expected) return [];
  const response = accepted ? describeResponse(accepted) : 'no change';
  const evidence = `the end ${expected} (${response}) is ${inRedis} in Redis and ${postgres.endsAtMs} in PostgreSQL`;
  return [{ kind: 'operation-differs', evidence }];
}
