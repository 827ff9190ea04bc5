/**
 * The likeliest steps of a reservation of which some versions are lost: each is a transition that is allowed after the
 * one before it, and together with the known versions they end in the state of the record.
 *
 * The search weighs every kind of step for every lost version, and returns those of the least weight.
 */
import {
  type Reservation,
  type ReservationStatus,
  STATUS_OF_LETTER,
  TRANSITION_STEPS,
} from '../../../domain/reservation.ts';
import { letterOf } from '../../../domain/reservation-codec.ts';
import { isPart } from '../../../domain/transition-detail.ts';

/** A version that PostgreSQL or the stream has. */
export interface KnownVersion {
  reservationId: string;
  version: number;
  status: ReservationStatus;
  detail: string;
}

/** What a version did. `from` and `to` are letters of the status, see domain/reservation.ts. */
export interface Step {
  version: number;
  from: string;
  to: string;
  /** A cancelled part changes no letter. */
  cancelsPart: boolean;
}

/** What is known to be among the lost versions. */
interface Wanted {
  parts: number;
  confirms: boolean;
  extends: boolean;
}

interface Path {
  weight: number;
  step?: Step;
  rest?: Path;
}

/** The letter of a version that nobody can read. Every step may follow it. */
const UNREADABLE = '?';

/** Each is heavier than all lighter ones together can be. */
const FORBIDDEN = 1_000_000_000;
const PART_IS_MISSING = 1_000_000;
const CONFIRMATION_IS_MISSING = 100_000;
const EXTENSION_IS_MISSING = 10_000;
/** Steps that nothing tells of. A payment that was attached leaves the fewest traces. */
const UNTOLD: Readonly<Record<string, number>> = { C: 1, P: 3, E: 9 };

/** The steps of the lost versions, in their order. */
export function likeliestSteps(
  { version: newest, status }: Pick<Reservation, 'version' | 'status'>,
  lost: readonly number[],
  known: readonly KnownVersion[],
  wanted: Wanted,
): Step[] {
  const lostVersions = new Set(lost);
  const knownVersions = new Map(known.map((each) => [each.version, each]));
  const found = new Map<string, Path>();
  const steps: Step[] = [];
  for (let path: Path | undefined = lightest(1, '', wanted); path; path = path.rest) {
    if (path.step && lostVersions.has(path.step.version)) steps.push(path.step);
  }
  return steps;

  function lightest(version: number, from: string, left: Wanted): Path {
    if (version > newest) return { weight: weightOfMissing(left) };
    const key = [version, from, left.parts, left.confirms, left.extends].join(' ');
    let best = found.get(key);
    if (best) return best;
    for (const step of choices(version, from, left.parts)) {
      const after = lostVersions.has(version) ? without(left, step) : left;
      const isUntold = lostVersions.has(version) && after === left;
      const rest = lightest(version + 1, step.to, after);
      const weight = weightOf(step) + (isUntold ? (UNTOLD[step.to] ?? 0) : 0) + rest.weight;
      // Of equal weights the first choice counts.
      if (!best || weight < best.weight) best = { weight, step, rest };
    }
    found.set(key, best!);
    return best!;
  }

  function choices(version: number, from: string, partsLeft: number): Step[] {
    const step = (to: string): Step => ({ version, from, to, cancelsPart: false });
    const part = (to: string): Step => ({ version, from, to, cancelsPart: true });
    const told = knownVersions.get(version);
    if (told) {
      const letter = letterOf(told.status, told.status === 'reserved' && version > 1);
      if (!isPart(told)) return [step(letter)];
      return [part(STATUS_OF_LETTER[from] === told.status ? from : letter)];
    }
    if (!lostVersions.has(version)) return [step(UNREADABLE)];
    if (version === 1) return [step('R')];
    const possible = ['P', 'C', 'E', 'X'].map(step);
    if (partsLeft > 0) possible.push(...(from === UNREADABLE ? ['P', 'C'] : [from]).map(part));
    return version < newest
      ? possible
      : possible.filter(({ to }) => STATUS_OF_LETTER[to] === status);
  }
}

function weightOf({ version, from, to, cancelsPart }: Step): number {
  if (from === UNREADABLE || to === UNREADABLE) return 0;
  if (version === 1) return to === 'R' ? 0 : FORBIDDEN;
  if (cancelsPart) return from === to && 'RPC'.includes(to) ? 0 : FORBIDDEN;
  return TRANSITION_STEPS.includes(from + to) ? 0 : FORBIDDEN;
}

/** The same object if the step is not wanted. */
function without(left: Wanted, { to, cancelsPart }: Step): Wanted {
  if (cancelsPart) return { ...left, parts: left.parts - 1 };
  if (to === 'C' && left.confirms) return { ...left, confirms: false };
  if (to === 'P' && left.extends) return { ...left, extends: false };
  return left;
}

function weightOfMissing({ parts, confirms, extends: isExtended }: Wanted): number {
  return (
    parts * PART_IS_MISSING +
    Number(confirms) * CONFIRMATION_IS_MISSING +
    Number(isExtended) * EXTENSION_IS_MISSING
  );
}
