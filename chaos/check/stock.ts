/** Never oversold: at the end, at every moment of the history, and as far as the responses alone can prove. */
import { boughtItems } from '../../src/domain/reservation-codec.ts';
import { isArchived } from './archive.ts';
import {
  type Findings,
  isLiving,
  loadedMost,
  type Sighting,
  stateOf,
  TOLERANCE_MS,
  unitsOf,
} from './case.ts';
import { takenSteps, type UnitStep, withdrawnUnits } from './unit-steps.ts';
import type { Violation } from './violation.ts';

export function checkStock(findings: Findings): Violation[] {
  return findings.terms.skus.flatMap(({ sku }) => [
    ...(isArchived(findings) ? [] : countsOf(findings, sku)),
    ...oversoldByRows(findings, sku),
    ...(findings.restore ? [] : oversoldInHistory(findings, sku)),
    ...oversoldByResponses(findings, sku),
  ]);
}

function countsOf({ terms, snapshot: { redis, postgres } }: Findings, sku: string): Violation[] {
  const count = (field: string) => redis.stock[`${sku}:${field}`] ?? Number.NaN;
  const unitsIn = (status: string) =>
    redis.reservations
      .filter((reservation) => reservation.status === status)
      .reduce((sum, { items }) => sum + unitsOf(items, sku), 0);
  const ledger = postgres.ledger.filter((row) => row.sku === sku && row.outcome === 'applied');
  const loaded = ledger.reduce((sum, { delta }) => sum + delta, 0);
  const expected = {
    loaded,
    held: unitsIn('reserved'),
    confirmed: unitsIn('confirmed'),
    remaining: count('loaded') - count('held') - count('confirmed'),
  };
  const violations: Violation[] = [];
  for (const [field, value] of Object.entries(expected)) {
    if (count(field) === value && value >= 0) continue;
    violations.push({
      kind: 'counts-differ',
      evidence: `${sku}:${field} is ${count(field)} in Redis, expected ${value} (sale ${terms.saleId})`,
    });
  }
  return violations;
}

function oversoldByRows(findings: Findings, sku: string): Violation[] {
  const { snapshot } = findings;
  const withdrawn = findings.lives.reduce(
    (sum, life) => sum + withdrawnUnits(life, (items) => unitsOf(items, sku)),
    0,
  );
  const loaded = loadedMost(findings, sku, Number.POSITIVE_INFINITY) - withdrawn;
  return [
    { where: 'Redis', reservations: snapshot.redis.reservations },
    { where: 'PostgreSQL', reservations: snapshot.postgres.rows },
  ].flatMap(({ where, reservations }): Violation[] => {
    const held = reservations
      .filter(({ status }) => isLiving(status))
      .reduce((sum, { items }) => sum + unitsOf(items, sku), 0);
    if (held <= loaded) return [];
    return [{ kind: 'oversold', evidence: `${held} of ${loaded} ${sku} are held in ${where}` }];
  });
}

function oversoldInHistory(findings: Findings, sku: string): Violation[] {
  const steps = findings.lives.flatMap((life) => takenSteps(life, (items) => unitsOf(items, sku)));
  steps.sort((a, b) => a.event - b.event);
  return oversoldAt(findings, sku, steps, findings.toleranceMs, 'by the history in PostgreSQL');
}

function oversoldByResponses(findings: Findings, sku: string): Violation[] {
  const steps: Omit<UnitStep, 'event'>[] = [];
  for (const sightings of findings.sightingsOf.values()) {
    // A part that may be cancelled counts as cancelled from the start.
    const { reservationId, items } = sightings[0]!.reservation;
    const cuts = findings.history
      .changesOf(reservationId)
      .flatMap(({ request }) =>
        request.kind === 'cancel-part' ? [unitsOf(request.items, sku)] : [],
      );
    const units = unitsOf(boughtItems(items), sku) - Math.max(0, ...cuts);
    const span = units > 0 ? provenLife(findings, sightings) : undefined;
    if (!span || span.untilMs <= span.fromMs) continue;
    steps.push({ atMs: span.fromMs, units }, { atMs: span.untilMs, units: -units });
  }
  // Units released at a moment are free for purchases at the same moment.
  steps.sort((a, b) => a.atMs - b.atMs || a.units - b.units);
  // The times of responses and of changes of stock are on one clock.
  return oversoldAt(findings, sku, steps, TOLERANCE_MS, 'by the responses');
}

function oversoldAt(
  findings: Findings,
  sku: string,
  steps: readonly Omit<UnitStep, 'event'>[],
  errorMs: number,
  how: string,
): Violation[] {
  let held = 0;
  for (const { atMs, units } of steps) {
    held += units;
    const loaded = loadedMost(findings, sku, atMs, errorMs);
    if (held > loaded) {
      const when = new Date(atMs).toISOString();
      return [
        { kind: 'oversold', evidence: `${held} of ${loaded} ${sku} are held at ${when} ${how}` },
      ];
    }
  }
  return [];
}

/** From the first response that shows it live, until it may have ended. */
function provenLife(
  { terms, losses, lost, history, toleranceMs }: Findings,
  sightings: readonly Sighting[],
): { fromMs: number; untilMs: number } | undefined {
  let living = sightings.filter(({ reservation }) => isLiving(reservation.status));
  if (living.length === 0) return undefined;
  const { reservationId } = living[0]!.reservation;
  const changes = history.changesOf(reservationId);
  const confirmed = living.filter(({ reservation }) => stateOf(reservation, terms) === 'confirmed');
  const isConfirmed = confirmed.length > 0;
  // The hold may have ended before.
  const isReclaimed = changes.some(({ request }) => request.kind === 'confirm' && request.reclaim);
  if (isConfirmed && isReclaimed) living = confirmed;
  const fromMs = Math.min(...living.map(({ exchange }) => exchange.endedMs));
  let untilMs = isConfirmed
    ? Number.POSITIVE_INFINITY
    : Math.max(...living.map(({ reservation }) => Date.parse(reservation.expiresAt))) - toleranceMs;
  for (const { request, startedMs } of changes) {
    if (request.kind === 'release' || request.kind === 'cancel')
      untilMs = Math.min(untilMs, startedMs);
  }
  // A reservation seen during a data loss may be gone, and the response about a lost one may arrive later.
  const seenMs = lost.has(reservationId) ? sightings[0]!.exchange.startedMs : fromMs;
  for (const { atMs, overMs } of losses) if (overMs >= seenMs) untilMs = Math.min(untilMs, atMs);
  return { fromMs, untilMs };
}
