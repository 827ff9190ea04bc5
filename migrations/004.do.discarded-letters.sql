-- A dead letter that can never be written is given up by an operator, who says why. It is resolved, too; one that has no
-- reason is in the history.

ALTER TABLE dead_letters
  ADD COLUMN discarded_by text,
  ADD COLUMN discard_reason text,
  ADD CHECK ((discarded_by IS NULL) = (discard_reason IS NULL) AND (discard_reason IS NULL OR resolved_at IS NOT NULL));
