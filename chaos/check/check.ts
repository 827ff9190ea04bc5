/** The checker: a pure function from a case to its violations. It shares nothing with the engine's own `verify`. */

import { checkArchive } from './archive.ts';
import { type Case, type Findings, findingsOf } from './case.ts';
import { checkCoolDown } from './cool-down.ts';
import { checkEnd } from './end.ts';
import { checkOperations } from './operations.ts';
import { checkOrder } from './order.ts';
import { checkPayments } from './payments.ts';
import { checkRefusals } from './refusals.ts';
import { checkResponses } from './responses.ts';
import { checkRows } from './rows.ts';
import { checkStock } from './stock.ts';
import type { Violation } from './violation.ts';
import { checkWaitlist } from './waitlist.ts';

const CHECKS: readonly ((findings: Findings) => Violation[])[] = [
  checkStock,
  checkRows,
  checkResponses,
  checkOrder,
  checkWaitlist,
  checkRefusals,
  checkCoolDown,
  checkOperations,
  checkPayments,
  checkEnd,
  checkArchive,
];

export interface Verdict {
  violations: Violation[];
  /** Acknowledged reservations that a data loss was allowed to take. */
  lost: number;
}

export function check(aCase: Case): Verdict {
  const findings = findingsOf(aCase);
  return { violations: CHECKS.flatMap((each) => each(findings)), lost: findings.lost.size };
}
