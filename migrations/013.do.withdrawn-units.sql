-- A merchant can cancel a reservation and take its units out of the sale. The persister writes that to the ledger with the
-- event of the cancellation, so that the stock of a SKU stays the sum of the ledger.

ALTER TABLE stock_ledger
  DROP CONSTRAINT stock_ledger_pkey,
  ALTER COLUMN operation DROP NOT NULL,
  -- The event that took the units out of the sale. Null: an operator's change.
  ADD COLUMN event bigint,
  ADD CHECK ((operation IS NULL) <> (event IS NULL)),
  ADD UNIQUE (sale_id, operation, sku),
  ADD UNIQUE (sale_id, event, sku);
