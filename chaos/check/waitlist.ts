/** Free units go to the first waiting buyer who can take them: nobody gets units of a SKU before that buyer. */
import { isSettled } from '../clients/history.ts';
import { type Findings, type Life, loadedLeast, unitsOf } from './case.ts';
import { takenSteps } from './unit-steps.ts';
import type { Violation } from './violation.ts';

/** A buyer who was served, and certainly waited since `sinceMs`. */
interface Served {
  life: Life;
  ticket: number;
  quantity: number;
  event: number;
  sinceMs: number;
}

export function checkWaitlist(findings: Findings): Violation[] {
  // The events of a restore have another order, and a rebuild after a data loss may lack members of the waitlist and reservations.
  if (!findings.isExact) return [];
  return findings.terms.skus.flatMap(({ sku }) => overtakingIn(findings, sku));
}

function overtakingIn(findings: Findings, sku: string): Violation[] {
  const lives = findings.lives.filter(({ row }) => unitsOf(row.items, sku) > 0);
  const served = lives.flatMap((life) => servedOf(findings, life, sku));
  if (served.length === 0) return [];
  const steps = lives.flatMap((life) => takenSteps(life, (items) => unitsOf(items, sku)));
  const heldBefore = (event: number) =>
    steps.reduce((sum, step) => (step.event < event ? sum + step.units : sum), 0);
  const violations: Violation[] = [];
  for (const { row, stages } of lives) {
    const [first] = stages;
    if (!first) continue;
    const ticket = ticketOf(row) ?? Number.POSITIVE_INFINITY;
    const overtaken = served.find(
      (waiter) =>
        waiter.event > first.event &&
        waiter.ticket < ticket &&
        waiter.sinceMs < first.fromMs - findings.toleranceMs &&
        waiter.quantity <=
          loadedLeast(findings, sku, first.fromMs, findings.toleranceMs) - heldBefore(first.event),
    );
    if (!overtaken) continue;
    const { quantity, life, ticket: place, sinceMs } = overtaken;
    const since = new Date(sinceMs).toISOString().slice(11, -1);
    const evidence = `${row.reservationId} was decided while ${life.row.buyerId} waited for ${quantity} ${sku} that were free, with ticket ${place} since ${since}`;
    violations.push({ kind: 'out-of-order', evidence });
  }
  return violations;
}

function servedOf(findings: Findings, life: Life, sku: string): Served[] {
  const { history } = findings;
  const { row, stages } = life;
  const [first] = stages;
  const ticket = ticketOf(row);
  if (ticket === undefined || !first) return [];
  const { buyerId } = row;
  const join = history
    .ofKind('join')
    .findLast(
      ({ request, response, startedMs }) =>
        request.buyerId === buyerId &&
        request.sku === sku &&
        response?.status === 201 &&
        startedMs < first.fromMs,
    );
  // The buyer may have left and joined again by requests whose responses were lost. Such a leave may also be older than
  // the join: a link or a frozen process can delay it.
  const mayHaveLeft = history
    .ofKind('leave')
    .some(
      (leave) =>
        leave.request.buyerId === buyerId &&
        join &&
        leave.startedMs < first.fromMs &&
        (leave.startedMs >= join.startedMs || !isSettled(leave)),
    );
  if (!join || mayHaveLeft) return [];
  // The join was served before. It was sent twice, because its first response was lost, and arrived once more since.
  const isRepeated = findings.lives.some(
    (other) =>
      other.row.buyerId === buyerId &&
      unitsOf(other.row.items, sku) > 0 &&
      (ticketOf(other.row) ?? ticket) < ticket &&
      (other.stages[0]?.fromMs ?? 0) > join.startedMs,
  );
  if (isRepeated) return [];
  const quantity = unitsOf(row.items, sku);
  return [{ life, ticket, quantity, event: first.event, sinceMs: join.endedMs }];
}

function ticketOf({ idempotencyKey }: Life['row']): number | undefined {
  const ticket = /^waitlist (\d+)$/.exec(idempotencyKey)?.[1];
  return ticket === undefined ? undefined : Number(ticket);
}
