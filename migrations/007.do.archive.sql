-- A sale that has ended, is settled and is durable is archived: Redis keeps a marker of it, PostgreSQL has all of it.

ALTER TABLE sales
  -- From this time on, PostgreSQL decides what can still change. Null: Redis decides.
  ADD COLUMN archived_at timestamptz,
  -- When Redis got the marker in the place of the sale. Null although the sale is archived: still to do.
  ADD COLUMN archive_marked_at timestamptz,
  -- What `verify` compares: a sum over everything of the sale that does not change any more, see src/postgres/archive-digest.ts.
  ADD COLUMN archive_digest numeric,
  -- Why the last automatic attempt archived nothing, and when the next one is due.
  ADD COLUMN archive_blocked_by text,
  ADD COLUMN archive_retry_at timestamptz,
  ADD CHECK ((archived_at IS NULL) = (archive_digest IS NULL) AND (archive_marked_at IS NULL OR archived_at IS NOT NULL));

-- Everything that runs periodically reads these only, so archived sales cost it nothing.
CREATE INDEX sales_not_archived ON sales (created_at, sale_id) WHERE archived_at IS NULL;
CREATE INDEX sales_to_mark ON sales (sale_id) WHERE archived_at IS NOT NULL AND archive_marked_at IS NULL;
CREATE INDEX sales_by_creation ON sales (created_at, sale_id);

-- Units of an archived sale that are confirmed. Null: Redis counts them.
ALTER TABLE sale_skus ADD COLUMN archived_confirmed bigint CHECK (archived_confirmed >= 0);

-- A process that does not know of archives must neither change such a sale nor open it in Redis again, which begins a
-- timeline.
CREATE FUNCTION refuse_change_of_archived_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'sale % is archived', OLD.sale_id;
END $$;
CREATE TRIGGER sales_archived
  BEFORE UPDATE OF name, currency, status, starts_at, ends_at, per_buyer_limit, hold_seconds, last_operation, timeline,
    fence, closing, position_floor
  ON sales FOR EACH ROW WHEN (OLD.archived_at IS NOT NULL)
  EXECUTE FUNCTION refuse_change_of_archived_sale();
