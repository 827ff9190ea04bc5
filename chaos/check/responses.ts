/** Responses were true when they were sent and stay true, and a repeated request gets the same result. */
import type { ReservationStatus } from '../../src/domain/reservation.ts';
import { boughtItems, canonicalItems } from '../../src/domain/reservation-codec.ts';
import {
  type ClientRequest,
  type Exchange,
  isSettled,
  type RequestKind,
  reservationsIn,
} from '../clients/history.ts';
import {
  type Findings,
  isFromWaitlist,
  limitsOf,
  mayBeLost,
  type Sighting,
  stateOf,
  unitsOf,
} from './case.ts';
import { ownedSteps } from './unit-steps.ts';
import type { Violation } from './violation.ts';

export function checkResponses(findings: Findings): Violation[] {
  return [
    ...[...findings.sightingsOf.values()].flatMap((sightings) =>
      wrongResponses(findings, sightings),
    ),
    ...missingFromList(findings),
    ...differentResponses(findings),
    ...wrongPlaces(findings),
    ...overLimit(findings),
    ...unexpectedResponses(findings),
    ...findings.history.unsettled.map(
      (request): Violation => ({ kind: 'no-response', evidence: JSON.stringify(request) }),
    ),
  ];
}

function wrongResponses(findings: Findings, sightings: readonly Sighting[]): Violation[] {
  const { reservationId } = sightings[0]!.reservation;
  if (findings.lost.has(reservationId)) return [];
  const life = findings.lifeOf.get(reservationId);
  if (!life) {
    const { exchange } = sightings[0]!;
    return [{ kind: 'lost-reservation', evidence: `${reservationId}, seen ${timeOf(exchange)}` }];
  }
  const { row, stages } = life;
  return sightings.flatMap(({ exchange, reservation }): Violation[] => {
    const isSame =
      reservation.buyerId === row.buyerId &&
      reservation.position === row.position &&
      reservation.source === (isFromWaitlist(row) ? 'waitlist' : 'purchase') &&
      Date.parse(reservation.reservedAt) === row.reservedAt.getTime() &&
      canonicalItems(boughtItems(reservation.items)) === canonicalItems(row.items);
    if (!isSame) {
      return [
        {
          kind: 'response-contradicts-row',
          evidence: `${JSON.stringify(reservation)}, the row: ${JSON.stringify(row)}`,
        },
      ];
    }
    const state = stateOf(reservation, findings.terms);
    if (stages.some(({ isRestored }) => isRestored)) {
      if (isReachable(reservation.status, row.status)) return [];
      const evidence = `${reservationId} was shown as ${state} ${timeOf(exchange)}, and restored as ${row.status}`;
      return [{ kind: 'lost-transition', evidence }];
    }
    const shown = stages.filter(
      (each) =>
        each.state === state &&
        each.items.every(({ sku, quantity }) => unitsOf(reservation.items, sku) === quantity),
    );
    // A hold is shown as expired from its deadline on; its event follows with the sweep.
    const deadlineMs =
      reservation.status === 'expired'
        ? Date.parse(reservation.expiresAt)
        : Number.POSITIVE_INFINITY;
    const wasTrue = shown.some(
      ({ fromMs, untilMs }) =>
        Math.min(fromMs, deadlineMs) <= exchange.endedMs + findings.toleranceMs &&
        untilMs >= exchange.startedMs - findings.toleranceMs,
    );
    if (wasTrue || mayBeLost(findings.losses, { exchange, reservation })) return [];
    const history = stages.map((each) => `${each.state} ${iso(each.fromMs)}`).join(', ');
    return [
      {
        kind: shown.length > 0 ? 'response-untrue' : 'lost-transition',
        evidence: `${reservationId} was shown as ${state} ${timeOf(exchange)}; its history: ${history}`,
      },
    ];
  });
}

/** Whether a reservation can have been in a state that a client saw, when only its last one is known. */
function isReachable(shown: ReservationStatus, last: ReservationStatus): boolean {
  if (shown === 'reserved' || shown === last) return true;
  // It may have been reclaimed, and then refunded.
  return last === 'cancelled' || (shown === 'expired' && last === 'confirmed');
}

/** `/me` shows every reservation of the buyer that was decided before. */
function missingFromList({ history, lives, losses, toleranceMs }: Findings): Violation[] {
  const livesOfBuyer = Map.groupBy(lives, ({ row }) => row.buyerId);
  return history.ofKind('me').flatMap((exchange): Violation[] => {
    if (exchange.response?.status !== 200) return [];
    const shown = new Set(reservationsIn(exchange).map(({ reservationId }) => reservationId));
    const missing = (livesOfBuyer.get(exchange.request.buyerId) ?? []).filter(
      ({ row, stages }) =>
        !shown.has(row.reservationId) && stages[0]!.fromMs < exchange.startedMs - toleranceMs,
    );
    // Before the rebuild, a Redis that lost its data serves no buyer, so a data loss is no reason for a missing
    // reservation here.
    return missing.map(({ row }) => ({
      kind: 'response-untrue',
      evidence: `${row.reservationId} is missing from the list of ${row.buyerId} ${timeOf(exchange)} (${losses.length} losses)`,
    }));
  });
}

/** One key has one reservation, and only one response is a 201. */
function differentResponses(findings: Findings): Violation[] {
  const violations: Violation[] = [];
  const byRequest = Map.groupBy(
    findings.history.ofKind('buy'),
    ({ request }) => `${request.buyerId} with key "${request.key ?? ''}"`,
  );
  for (const [request, exchanges] of byRequest) {
    const shown = exchanges.flatMap((exchange) =>
      reservationsIn(exchange)
        .filter(({ reservationId }) => !findings.lost.has(reservationId))
        .map(({ reservationId }) => ({ reservationId, exchange })),
    );
    const ids = new Set(shown.map(({ reservationId }) => reservationId));
    if (exchanges[0]!.request.key !== undefined && ids.size > 1) {
      violations.push({ kind: 'responses-differ', evidence: `${request}: ${[...ids].join(', ')}` });
    }
    for (const id of ids) {
      const created = shown.filter(
        ({ reservationId, exchange }) => reservationId === id && exchange.response!.status === 201,
      );
      if (created.length > 1) {
        violations.push({
          kind: 'decided-twice',
          evidence: `${request}: ${id} was a 201 ${created.length} times`,
        });
      }
    }
  }
  return violations;
}

/** A buyer who joins is told what is stored: exactly what was requested. */
function wrongPlaces({ history }: Findings): Violation[] {
  return history.ofKind('join').flatMap((exchange): Violation[] => {
    const { request, response } = exchange;
    if (!response || response.status >= 300) return [];
    const { sku, quantity, place } = response.body as Record<string, unknown>;
    if (sku === request.sku && quantity === request.quantity && Number(place) >= 1) return [];
    const evidence = `${JSON.stringify(request)}: ${JSON.stringify(response.body)}`;
    return [{ kind: 'response-untrue', evidence }];
  });
}

function overLimit({ terms, lives, restore }: Findings): Violation[] {
  if (restore) return [];
  const violations: Violation[] = [];
  for (const [buyerId, own] of Map.groupBy(lives, ({ row }) => row.buyerId)) {
    for (const { limit, unitsIn } of limitsOf(terms)) {
      const steps = own.flatMap((life) => ownedSteps(life, unitsIn));
      let units = 0;
      for (const step of steps.sort((a, b) => a.event - b.event)) {
        units += step.units;
        if (units <= limit) continue;
        violations.push({
          kind: 'over-limit',
          evidence: `${buyerId} had ${units} of ${limit} at event ${step.event}`,
        });
        break;
      }
    }
  }
  return violations;
}

/** All responses that each request may get, besides 503. */
const RESPONSES: Record<RequestKind, readonly string[]> = {
  buy: [
    '201',
    '200',
    '409 sold_out',
    '409 insufficient_stock',
    '409 limit_reached',
    '409 sale_paused',
    '410 sale_ended',
    '422 idempotency_key_reused',
    '429 too_many_holds',
  ],
  me: ['200'],
  read: ['200'],
  release: ['200', '409 invalid_transition'],
  join: [
    '201',
    '200',
    '409 invalid_transition',
    '409 limit_reached',
    '409 sale_paused',
    '410 sale_ended',
    '429 too_many_holds',
  ],
  leave: ['200'],
  confirm: ['200', '409 invalid_transition'],
  'cancel-part': ['200', '409 invalid_transition'],
  cancel: ['200', '409 invalid_transition'],
  extend: ['200', '409 invalid_transition'],
  stock: ['200', '409 insufficient_stock'],
  open: ['200'],
  pause: ['200'],
  resume: ['200'],
  end: ['200', '409 invalid_transition'],
  archive: ['200', '409 invalid_transition'],
  'move-end': ['200', '409 invalid_transition'],
};

/** For a confirmation that may take the units of an expired hold again. */
const RECLAIM_REFUSALS = ['409 sold_out', '409 insufficient_stock', '409 limit_reached'];

/** Buyers get it for whatever they ask of an archived sale. */
const ARCHIVED = '410 sale_ended';

function responsesTo(request: ClientRequest, mayBeArchived: boolean): readonly string[] {
  const responses = RESPONSES[request.kind];
  if ('buyerId' in request && mayBeArchived) return [...responses, ARCHIVED];
  if (request.kind !== 'confirm') return responses;
  const conflict = request.paymentRef === undefined ? [] : ['409 payment_conflict'];
  return [...responses, ...conflict, ...(request.reclaim ? RECLAIM_REFUSALS : [])];
}

function unexpectedResponses(findings: Findings): Violation[] {
  const { history, lost } = findings;
  const unknown = spansOfUnknownSale(findings);
  const archivedMs = history.ofKind('archive')[0]?.startedMs ?? Number.POSITIVE_INFINITY;
  return history.exchanges.flatMap((exchange): Violation[] => {
    const { request, startedMs, endedMs } = exchange;
    if (!isSettled(exchange)) return [];
    const response = describeResponse(exchange);
    if (responsesTo(request, endedMs >= archivedMs).includes(response)) return [];
    const isNotFound =
      response === '404 sale_not_found' || response === '404 reservation_not_found';
    const isOfLost = 'reservationId' in request && lost.has(request.reservationId);
    const isUnknown = unknown.some(
      ({ fromMs, untilMs }) => fromMs <= endedMs && startedMs <= untilMs,
    );
    if (isNotFound && (isOfLost || isUnknown)) return [];
    const evidence = `${JSON.stringify(request)}: ${response} ${timeOf(exchange)}`;
    return [{ kind: 'unexpected-response', evidence }];
  });
}

/**
 * From the data loss until a client saw the sale again. A hot path that restarted meanwhile has never seen the sale,
 * so it cannot detect that Redis lost it.
 */
function spansOfUnknownSale({
  outages,
  history,
  staleMsMax,
}: Findings): { fromMs: number; untilMs: number }[] {
  return outages.map(({ atMs, overMs }) => {
    // Only buyers are served from Redis alone; admin may respond from PostgreSQL.
    const known = history.exchanges
      .filter(
        ({ request, response }) =>
          'buyerId' in request &&
          response !== undefined &&
          (response.status < 300 || response.code === 'sale_ended'),
      )
      .filter(({ startedMs }) => startedMs > overMs)
      .map(({ endedMs }) => endedMs);
    const first = known.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    return { fromMs: atMs, untilMs: first + staleMsMax };
  });
}

/** The status, with the code of a refusal. */
export function describeResponse({ response }: Exchange): string {
  if (!response) return 'none';
  return response.code === undefined
    ? String(response.status)
    : `${response.status} ${response.code}`;
}

function timeOf({ startedMs, endedMs }: Exchange): string {
  return `between ${iso(startedMs)} and ${iso(endedMs)}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString().slice(11, 23);
}
