/** First come, first served: positions are unique, complete, and in the order of decision. */
import { isArchived } from './archive.ts';
import type { Findings } from './case.ts';
import type { Violation } from './violation.ts';

export function checkOrder(findings: Findings): Violation[] {
  return [
    ...reusedPositions(findings),
    ...positionGaps(findings),
    ...outOfOrder(findings),
    ...timeWentBack(findings),
  ];
}

/** A position that only a client saw must never be assigned again. */
function reusedPositions({ sightingsOf, lives }: Findings): Violation[] {
  const idOf = new Map<number, string>();
  const violations: Violation[] = [];
  const claim = (position: number, reservationId: string) => {
    const owner = idOf.get(position) ?? reservationId;
    idOf.set(position, owner);
    if (owner !== reservationId) {
      violations.push({
        kind: 'position-reused',
        evidence: `${position}: ${owner} and ${reservationId}`,
      });
    }
  };
  for (const { row } of lives) claim(row.position, row.reservationId);
  for (const [{ reservation }] of sightingsOf.values() as Iterable<
    [{ reservation: { position: number; reservationId: string } }]
  >) {
    claim(reservation.position, reservation.reservationId);
  }
  return violations;
}

function positionGaps(findings: Findings): Violation[] {
  const { lives, snapshot, losses, durability } = findings;
  const { redis } = snapshot;
  const violations: Violation[] = [];
  const gap = (evidence: string) => violations.push({ kind: 'position-gap', evidence });
  // After a possible loss of decisions, positions that clients may have seen are skipped.
  const mayLeaveOut = losses.length > 0 || durability === 'fast';
  const hole = lives.findIndex(({ row }, index) => row.position !== index + 1);
  if (hole !== -1 && !mayLeaveOut) {
    gap(`position ${hole} is followed by ${lives[hole]!.row.position}`);
  }
  if (isArchived(findings)) return violations;
  const other = redis.order.findIndex((buyerId, index) => buyerId !== lives[index]?.row.buyerId);
  if (other !== -1 || redis.order.length !== lives.length) {
    gap(
      `Redis has ${redis.order.length} in order, PostgreSQL ${lives.length}; they differ from index ${other}`,
    );
  }
  return violations;
}

function outOfOrder({ lives, exchangeOf, restore }: Findings): Violation[] {
  const violations: Violation[] = [];
  let endedMs = Number.POSITIVE_INFINITY;
  let later = '';
  let event = Number.POSITIVE_INFINITY;
  for (const { row, stages } of lives.toReversed()) {
    const number = stages[0]?.event ?? 0;
    if (number >= event && !restore) {
      violations.push({
        kind: 'out-of-order',
        evidence: `${row.reservationId} was decided after its successor`,
      });
    }
    event = number;
    const exchange = exchangeOf.get(row.requestId);
    if (exchange?.request.kind !== 'buy') continue;
    if (endedMs < exchange.startedMs) {
      const evidence = `${row.reservationId} was requested after the response with ${later}`;
      violations.push({ kind: 'out-of-order', evidence });
    }
    // A request with another response, even 503, may have been decided after that response.
    if (exchange.response?.status === 201 && exchange.endedMs < endedMs) {
      endedMs = exchange.endedMs;
      later = row.reservationId;
    }
  }
  return violations;
}

/** A sale's time only goes on, so its decisions have the order of their times, whatever the servers' clocks did. */
function timeWentBack({ lives }: Findings): Violation[] {
  return lives.flatMap(({ row }, index): Violation[] => {
    const before = lives[index - 1]?.row;
    if (!before || before.reservedAt <= row.reservedAt) return [];
    const evidence = `${row.reservationId} at ${row.reservedAt.toISOString()}, after ${before.reservationId} at ${before.reservedAt.toISOString()}`;
    return [{ kind: 'time-went-back', evidence }];
  });
}
