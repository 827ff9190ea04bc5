/** A reservation has one payment: the first one that a merchant sent. Another one is refused with the recorded one. */
import type { Exchange, RequestOf } from '../clients/history.ts';
import { type Findings, mayBeLost } from './case.ts';
import type { Violation } from './violation.ts';

export function checkPayments(findings: Findings): Violation[] {
  const confirmations = Map.groupBy(
    findings.history.ofKind('confirm').filter(({ request }) => request.paymentRef !== undefined),
    ({ request }) => request.reservationId,
  );
  return [...confirmations].flatMap(([reservationId, exchanges]) =>
    differencesOf(findings, reservationId, exchanges),
  );
}

function differencesOf(
  findings: Findings,
  reservationId: string,
  exchanges: readonly Exchange<RequestOf<'confirm'>>[],
): Violation[] {
  const differs = (evidence: string): Violation => ({
    kind: 'payment-differs',
    evidence: `${reservationId}: ${evidence}`,
  });
  const stages = findings.lifeOf.get(reservationId)?.stages ?? [];
  const recorded = stages.findLast(({ paymentRef }) => paymentRef !== undefined)?.paymentRef;
  const sent = new Set(exchanges.map(({ request }) => request.paymentRef));
  return exchanges.flatMap((exchange): Violation[] => {
    const { request, response } = exchange;
    if (response?.code === 'payment_conflict') {
      const { paymentRef } = response.body as { paymentRef: string };
      const isTrue = paymentRef !== request.paymentRef && sent.has(paymentRef);
      return isTrue ? [] : [differs(`${request.paymentRef} was refused because of ${paymentRef}`)];
    }
    if (response?.status !== 200 || recorded === request.paymentRef) return [];
    const reservation = response.body as Parameters<typeof mayBeLost>[1]['reservation'];
    if (mayBeLost(findings.losses, { exchange, reservation })) return [];
    return [differs(`${request.paymentRef} was accepted, and ${recorded ?? 'none'} is recorded`)];
  });
}
