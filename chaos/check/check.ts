/**
 * The checker: from what clients were told and what both servers hold in the end to the list of what is wrong. A pure
 * function, and none of the engine's own checks is in it.
 */

import { type Case, type Findings, findingsOf } from './case.ts';
import { checkOperations } from './operations.ts';
import { checkOrder } from './order.ts';
import { checkRefusals } from './refusals.ts';
import { checkResponses } from './responses.ts';
import { checkRows } from './rows.ts';
import { checkStock } from './stock.ts';
import type { Violation } from './violation.ts';

const CHECKS: readonly ((findings: Findings) => Violation[])[] = [
  checkStock,
  checkRows,
  checkResponses,
  checkOrder,
  checkRefusals,
  checkOperations,
];

export interface Verdict {
  violations: Violation[];
  /** Acknowledged reservations that a loss of memory took, as it may. */
  lost: number;
}

export function check(aCase: Case): Verdict {
  const findings = findingsOf(aCase);
  return { violations: CHECKS.flatMap((each) => each(findings)), lost: findings.lost.size };
}
