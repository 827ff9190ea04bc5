/** An archived sale is whole in PostgreSQL, and Redis has only its marker. */
import { type Findings, unitsOf } from './case.ts';
import type { Violation } from './violation.ts';

export function isArchived({ snapshot }: Pick<Findings, 'snapshot'>): boolean {
  return snapshot.postgres.archivedAtMs !== null;
}

export function checkArchive(findings: Findings): Violation[] {
  const isRequested = findings.history
    .ofKind('archive')
    .some(({ response }) => response?.status === 200);
  if (isRequested !== isArchived(findings)) {
    if (isRequested) return [{ kind: 'operation-differs', evidence: 'the sale is not archived' }];
    // A request without a response may have done it.
    if (findings.history.ofKind('archive').length > 0) return [];
    return [{ kind: 'unrequested', evidence: 'the sale is archived' }];
  }
  return isRequested ? [...left(findings), ...wrongCounts(findings)] : [];
}

/** What Redis still has, besides the marker. */
function left({ snapshot: { redis } }: Findings): Violation[] {
  const { sale, stock, reservations, order, waiting, holds } = redis;
  const isMarker = sale.status === 'archived' && sale.fence === '';
  const counts = {
    stock: Object.keys(stock).length,
    reservations: reservations.length,
    order: order.length,
    waiting,
    holds,
  };
  if (isMarker && Object.values(counts).every((count) => count === 0)) return [];
  const evidence = `Redis has ${JSON.stringify({ sale, ...counts })} of the archived sale`;
  return [{ kind: 'counts-differ', evidence }];
}

function wrongCounts({ terms, snapshot: { postgres } }: Findings): Violation[] {
  return terms.skus.flatMap(({ sku }): Violation[] => {
    const counted = postgres.archivedConfirmed[sku];
    const confirmed = postgres.rows
      .filter(({ status }) => status === 'confirmed')
      .reduce((sum, { items }) => sum + unitsOf(items, sku), 0);
    if (counted === confirmed) return [];
    const evidence = `${confirmed} ${sku} are confirmed in the archived sale, and ${counted} are counted`;
    return [{ kind: 'counts-differ', evidence }];
  });
}
