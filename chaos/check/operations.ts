/** Changes of stock were applied once, and match their responses: those of operators, and cancellations without restock. */
import { isSettled } from '../clients/history.ts';
import type { Findings } from './case.ts';
import { describeResponse } from './responses.ts';
import type { Violation } from './violation.ts';

export function checkOperations(findings: Findings): Violation[] {
  return [...changesOfStock(findings), ...withdrawals(findings), ...lostUnits(findings)];
}

/** The ledger has the units of each cancellation without restock, by its event, and of no other event. */
function withdrawals({ lives, snapshot: { postgres } }: Findings): Violation[] {
  const textOf = (event: number, sku: string, delta: number) => `event ${event}: ${delta} ${sku}`;
  const expected = lives.flatMap(({ stages }) =>
    stages
      .filter(({ isWithdrawal }) => isWithdrawal)
      .flatMap(({ event, cut, items }) =>
        (cut.length > 0 ? cut : items)
          .filter(({ quantity }) => quantity > 0)
          .map(({ sku, quantity }) => textOf(event, sku, -quantity)),
      ),
  );
  const recorded = postgres.ledger.flatMap(({ event, sku, delta, outcome }) =>
    event === null
      ? []
      : [`${textOf(event, sku, delta)}${outcome === 'applied' ? '' : ` ${outcome}`}`],
  );
  const differing = [
    ...expected.filter((each) => !recorded.includes(each)).map((each) => `lacks ${each}`),
    ...recorded.filter((each) => !expected.includes(each)).map((each) => `has ${each}`),
  ];
  return differing.map((difference) => ({
    kind: 'operation-differs',
    evidence: `the ledger of units that left the sale ${difference}`,
  }));
}

/** A restore has the changes that it found in Redis as one, without their keys. */
function lostUnits({
  terms,
  restore,
  stockWindows,
  snapshot: { postgres },
}: Findings): Violation[] {
  if (!restore) return [];
  return terms.skus.flatMap(({ sku, stock }): Violation[] => {
    const expected = stockWindows
      .filter((window) => window.sku === sku && window.isApplied)
      .reduce((sum, { delta }) => sum + delta, stock);
    const recorded = postgres.ledger
      .filter((row) => row.sku === sku && row.event === null && row.outcome === 'applied')
      .reduce((sum, { delta }) => sum + delta, 0);
    if (recorded === expected) return [];
    const evidence = `${expected} ${sku} were loaded, the restored ledger has ${recorded}`;
    return [{ kind: 'operation-differs', evidence }];
  });
}

function changesOfStock({ history, snapshot: { postgres }, restore }: Findings): Violation[] {
  const violations: Violation[] = [];
  const recorded = Map.groupBy(
    postgres.ledger.filter(({ idempotencyKey }) => idempotencyKey !== null),
    ({ idempotencyKey }) => idempotencyKey!,
  );
  const requestsByKey = Map.groupBy(history.ofKind('stock'), (exchange) => exchange.request.key);
  for (const [key, exchanges] of requestsByKey) {
    const rows = recorded.get(key) ?? [];
    const { sku, delta } = exchanges[0]!.request;
    const isInRestore = rows.length === 0 && exchanges[0]!.startedMs < (restore?.restoredMs ?? 0);
    if (isInRestore) continue;
    const settled = exchanges.filter(isSettled);
    // The backup may have it as pending. A restore can only guess its outcome; `lostUnits` checks the sum.
    const isPendingInBackup =
      restore !== undefined &&
      exchanges[0]!.startedMs < restore.restoredMs &&
      settled.every(({ endedMs }) => endedMs >= restore.backupMs);
    for (const exchange of settled) {
      const outcome = exchange.response!.status === 200 ? 'applied' : exchange.response!.code;
      const [row] = rows;
      const isSo =
        rows.length === 1 &&
        row!.sku === sku &&
        row!.delta === delta &&
        (row!.outcome === outcome || isPendingInBackup);
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
