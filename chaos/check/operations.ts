/** Operators' changes of stock were done once, and as their answers said. */
import { isSettled } from '../history.ts';
import { answerOf } from './answers.ts';
import type { Findings } from './case.ts';
import type { Violation } from './violation.ts';

export function checkOperations({ history, contents: { postgres } }: Findings): Violation[] {
  const violations: Violation[] = [];
  const recorded = Map.groupBy(
    postgres.ledger.filter(({ idempotencyKey }) => idempotencyKey !== null),
    ({ idempotencyKey }) => idempotencyKey!,
  );
  const asked = Map.groupBy(history.ofKind('stock'), (exchange) => exchange.asked.key);
  for (const [key, exchanges] of asked) {
    const rows = recorded.get(key) ?? [];
    const { sku, delta } = exchanges[0]!.asked;
    for (const exchange of exchanges.filter(isSettled)) {
      const outcome = exchange.answer!.status === 200 ? 'applied' : exchange.answer!.code;
      const [row] = rows;
      const isSo =
        rows.length === 1 && row!.sku === sku && row!.delta === delta && row!.outcome === outcome;
      if (!isSo) {
        const evidence = `${key} (${delta} ${sku}) was answered ${answerOf(exchange)}, the ledger has ${JSON.stringify(rows)}`;
        violations.push({ kind: 'operation-differs', evidence });
      }
    }
  }
  for (const key of recorded.keys()) {
    if (!asked.has(key))
      violations.push({ kind: 'never-asked', evidence: `the change of stock ${key}` });
  }
  return violations;
}
