/**
 * Every decision exists exactly once and in its right state: Redis and PostgreSQL agree, the history is complete and
 * its transitions are legal, and every decision has a request.
 */
import type { ClientRequest, Exchange, RequestKind } from '../clients/history.ts';
import { isArchived } from './archive.ts';
import { type Findings, isFromWaitlist, isLiving, type Life, type LifeState } from './case.ts';
import type { Violation } from './violation.ts';

export function checkRows(findings: Findings): Violation[] {
  return [
    ...(isArchived(findings) ? [] : disagreements(findings)),
    ...historyGaps(findings),
    ...findings.lives.flatMap((life) => illegalTransitions(findings, life)),
    ...findings.lives.flatMap((life) => unrequested(findings, life)),
    ...decidedTwiceByRequest(findings),
    ...findings.lives.flatMap((life) => cutTwice(findings, life)),
    ...findings.snapshot.postgres.deadLetters.map(
      (reason): Violation => ({ kind: 'dead-letter', evidence: reason }),
    ),
  ];
}

function disagreements({ snapshot, lifeOf }: Findings): Violation[] {
  const violations: Violation[] = [];
  const inRedis = new Set<string>();
  for (const { reservationId, ...decided } of snapshot.redis.reservations) {
    inRedis.add(reservationId);
    const row = lifeOf.get(reservationId)?.row;
    if (!row) {
      violations.push({
        kind: 'lost-row',
        evidence: `${reservationId} is ${decided.status} in Redis`,
      });
      continue;
    }
    const inBoth = [
      [decided.status, row.status],
      [decided.version, row.version],
      [decided.buyerId, row.buyerId],
      [decided.position, row.position],
      [decided.expiresAt, row.expiresAt.getTime()],
      [decided.idempotencyKey, row.idempotencyKey],
    ];
    const differing = inBoth.filter(([redis, postgres]) => redis !== postgres);
    if (differing.length > 0) {
      const evidence = differing.map(([redis, postgres]) => `${redis}, in PostgreSQL ${postgres}`);
      violations.push({
        kind: 'stale-row',
        evidence: `${reservationId}: in Redis ${evidence.join('; ')}`,
      });
    }
  }
  for (const reservationId of lifeOf.keys()) {
    if (!inRedis.has(reservationId)) {
      violations.push({ kind: 'never-decided', evidence: `${reservationId} is not in Redis` });
    }
  }
  return violations;
}

function historyGaps(findings: Findings): Violation[] {
  const { lives, snapshot } = findings;
  const { redis, postgres } = snapshot;
  const violations: Violation[] = [];
  const gap = (evidence: string) => violations.push({ kind: 'history-gap', evidence });
  for (const { row, stages } of lives) {
    const versions = stages.map(({ version }) => version);
    if (!findings.restore && stages.some(({ isRestored }) => isRestored)) {
      gap(`an event of ${row.reservationId} was missing, and restored from Redis`);
    }
    if (
      versions.length !== row.version ||
      versions.some((version, index) => version !== index + 1)
    ) {
      gap(`${row.reservationId} has version ${row.version} and the events ${versions.join(', ')}`);
    } else if (shownAs(stages.at(-1)!.state) !== row.status) {
      gap(`${row.reservationId} is ${row.status}, its last event is ${stages.at(-1)!.state}`);
    }
  }
  const numbers = postgres.events.map(({ event }) => event);
  if (new Set(numbers).size !== numbers.length) gap('an event number was given twice');
  if (numbers.some((event, index) => event !== index + 1)) {
    gap(`${numbers.length} events are numbered from ${numbers[0]} to ${numbers.at(-1)}`);
  }
  const decided = isArchived(findings) ? numbers.length : Number(redis.sale.events);
  if (numbers.length !== decided || postgres.checkpointEvent !== decided) {
    gap(
      `Redis numbered ${decided} events, PostgreSQL has ${numbers.length}, its checkpoint is ${postgres.checkpointEvent}`,
    );
  }
  return violations;
}

function shownAs(state: LifeState): string {
  return state === 'extended' ? 'reserved' : state;
}

/** Not imported from the engine, so that the checker detects a mistake there. */
const TRANSITIONS_FROM: Record<LifeState, readonly LifeState[]> = {
  reserved: ['extended', 'confirmed', 'cancelled', 'expired'],
  extended: ['confirmed', 'cancelled', 'expired'],
  confirmed: ['cancelled'],
  cancelled: [],
  expired: [],
};

/** A merchant may confirm an expired reservation again, or add the payment of a confirmed one. */
function isRequestedConfirm(
  { exchangeOf }: Findings,
  previous: LifeState,
  { state, requestId }: Life['stages'][number],
): boolean {
  const request = exchangeOf.get(requestId)?.request;
  if (state !== 'confirmed' || request?.kind !== 'confirm') return false;
  if (previous === 'expired') return request.reclaim === true;
  return previous === 'confirmed' && request.paymentRef !== undefined;
}

function illegalTransitions(findings: Findings, { row, stages }: Life): Violation[] {
  // The states between are unknown.
  if (stages.some(({ isRestored }) => isRestored)) return [];
  const violations: Violation[] = [];
  for (const [index, stage] of stages.entries()) {
    const previous = stages[index - 1];
    const isLegal = previous
      ? (stage.cut.length > 0 && isLiving(previous.state)) ||
        TRANSITIONS_FROM[previous.state].includes(stage.state) ||
        isRequestedConfirm(findings, previous.state, stage)
      : stage.state === 'reserved';
    if (!isLegal) {
      const evidence = `${row.reservationId} went from ${previous?.state ?? 'nothing'} to ${stage.state}`;
      violations.push({ kind: 'illegal-transition', evidence });
    }
    if (
      stage.state === 'expired' &&
      stage.fromMs + findings.toleranceMs < row.expiresAt.getTime()
    ) {
      const earlyMs = row.expiresAt.getTime() - stage.fromMs;
      violations.push({ kind: 'expired-early', evidence: `${row.reservationId} by ${earlyMs} ms` });
    }
  }
  return violations;
}

/** The requests that may lead to a state. */
const REQUESTED_BY: Record<LifeState, readonly RequestKind[]> = {
  reserved: ['buy'],
  extended: ['extend'],
  confirmed: ['confirm'],
  cancelled: ['cancel', 'release'],
  expired: [],
};

function unrequested(findings: Findings, { row, stages }: Life): Violation[] {
  return stages.flatMap((stage): Violation[] => {
    if (stage.state === 'expired' || stage.isRestored) return [];
    const exchange = findings.exchangeOf.get(stage.requestId);
    const isServed = stage.version === 1 && isFromWaitlist(row);
    const isRequested = isServed
      ? hasJoined(findings, row)
      : exchange !== undefined &&
        (stage.cut.length > 0
          ? exchange.request.kind === 'cancel-part'
          : REQUESTED_BY[stage.state].includes(exchange.request.kind)) &&
        fits(exchange, row) &&
        exchange.startedMs <= stage.fromMs + findings.toleranceMs;
    if (isRequested) return [];
    const evidence = `${row.reservationId} of ${row.buyerId} became ${stage.state} by request "${stage.requestId}"`;
    return [{ kind: 'unrequested', evidence }];
  });
}

function hasJoined({ history }: Findings, row: Life['row']): boolean {
  return history
    .ofKind('join')
    .some(
      ({ request }) =>
        request.buyerId === row.buyerId && basketOf([request]) === basketOf(row.items),
    );
}

function fits({ request }: Exchange, row: Life['row']): boolean {
  if (request.kind !== 'buy')
    return (request as { reservationId: string }).reservationId === row.reservationId;
  return (
    request.buyerId === row.buyerId &&
    (request.key ?? '') === row.idempotencyKey &&
    basketOf(request.items) === basketOf(row.items)
  );
}

export function basketOf(items: Extract<ClientRequest, { kind: 'buy' }>['items']): string {
  return items
    .map(({ sku, quantity }) => `${sku}*${quantity}`)
    .sort()
    .join(',');
}

/** By request, by key, and without a key by buyer and basket: while a keyless purchase lives, the same one repeats it. */
function decidedTwiceByRequest({ lives, restore }: Findings): Violation[] {
  const violations: Violation[] = [];
  const firstOf = new Map<string, string>();
  const once = (what: string, reservationId: string) => {
    const first = firstOf.get(what);
    if (first === undefined) firstOf.set(what, reservationId);
    else
      violations.push({
        kind: 'decided-twice',
        evidence: `${what}: ${first} and ${reservationId}`,
      });
  };
  const livesOfBuyer = new Map<string, Life[]>();
  for (const life of lives) {
    const { reservationId, buyerId, idempotencyKey, requestId } = life.row;
    if (!isFromWaitlist(life.row) && requestId !== '') {
      once(`request ${requestId}`, reservationId);
    }
    if (idempotencyKey !== '') once(`${buyerId} with key "${idempotencyKey}"`, reservationId);
    const earlier = livesOfBuyer.get(buyerId) ?? [];
    if (idempotencyKey === '' && !restore) {
      for (const other of earlier) {
        const isKeyless = other.row.idempotencyKey === '' || isFromWaitlist(other.row);
        const isSame = isKeyless && basketOf(other.row.items) === basketOf(life.row.items);
        if (isSame && isAliveAt(other, life.stages[0]?.event ?? 0)) {
          const evidence = `${buyerId} without a key: ${other.row.reservationId} was live when ${reservationId} was decided`;
          violations.push({ kind: 'decided-twice', evidence });
        }
      }
    }
    livesOfBuyer.set(buyerId, [...earlier, life]);
  }
  return violations;
}

/** A request that cancels a part takes effect once, however often it is sent, and the row has its units. */
function cutTwice({ exchangeOf }: Findings, { row, left, stages }: Life): Violation[] {
  const requests = stages.flatMap(({ cut, requestId }) => {
    const request = exchangeOf.get(requestId)?.request;
    return cut.length > 0 && request ? [JSON.stringify(request)] : [];
  });
  const isRepeated = new Set(requests).size < requests.length;
  const last = stages.at(-1);
  const isDifferent = last !== undefined && basketOf(last.items) !== basketOf(left);
  if (!isRepeated && !isDifferent) return [];
  const evidence = `${row.reservationId} has ${basketOf(left)} left of ${basketOf(row.items)} after ${requests.join(', ')}`;
  return [{ kind: 'decided-twice', evidence }];
}

function isAliveAt({ stages }: Life, event: number): boolean {
  const stage = stages.findLast((each) => each.event < event);
  return stage !== undefined && isLiving(stage.state);
}
