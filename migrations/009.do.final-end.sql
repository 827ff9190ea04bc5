-- A sale that has ended stays ended: Redis refuses an operation that would change the end of an ended sale.

ALTER TABLE sale_operations
  DROP CONSTRAINT sale_operations_outcome_check,
  ADD CHECK (outcome IN ('pending', 'applied', 'insufficient_stock', 'sale_ended'));
ALTER TABLE stock_ledger
  DROP CONSTRAINT stock_ledger_outcome_check,
  ADD CHECK (outcome IN ('pending', 'applied', 'insufficient_stock', 'sale_ended'));
