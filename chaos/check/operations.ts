/** Changes of stock by operators were applied once, and match their responses. */
import { isSettled } from '../clients/history.ts';
import type { Findings } from './case.ts';
import { describeResponse } from './responses.ts';
import type { Violation } from './violation.ts';

export function checkOperations({ history, snapshot: { postgres } }: Findings): Violation[] {
  const violations: Violation[] = [];
  const recorded = Map.groupBy(
    postgres.ledger.filter(({ idempotencyKey }) => idempotencyKey !== null),
    ({ idempotencyKey }) => idempotencyKey!,
  );
  const requestsByKey = Map.groupBy(history.ofKind('stock'), (exchange) => exchange.request.key);
  for (const [key, exchanges] of requestsByKey) {
    const rows = recorded.get(key) ?? [];
    const { sku, delta } = exchanges[0]!.request;
    for (const exchange of exchanges.filter(isSettled)) {
      const outcome = exchange.response!.status === 200 ? 'applied' : exchange.response!.code;
      const [row] = rows;
      const isSo =
        rows.length === 1 && row!.sku === sku && row!.delta === delta && row!.outcome === outcome;
      if (!isSo) {
        const evidence = `${key} (${delta} ${sku}) got ${describeResponse(exchange)}, the ledger has ${JSON.stringify(rows)}`;
        violations.push({ kind: 'operation-differs', evidence });
      }
    }
  }
  for (const key of recorded.keys()) {
    if (!requestsByKey.has(key))
      violations.push({ kind: 'unrequested', evidence: `the change of stock ${key}` });
  }
  return violations;
}
