-- What brings a sale back after Redis has forgotten something of it.

-- The history of a sale is one line of decisions. A server that forgot some of them and sold on would begin another
-- line; which one counts is said here, and nothing of any other is written.
ALTER TABLE sales
  -- Grows with every recovery, and is another one for a sale that is made again under the same id.
  ADD COLUMN timeline bigint NOT NULL DEFAULT 0,
  -- The run id of the server on which this timeline was opened; empty: on whichever took the sale's creation.
  ADD COLUMN fence text NOT NULL DEFAULT '',
  -- Which closing of the sale in Redis this timeline was begun after: all that Redis then had is here.
  ADD COLUMN closing text NOT NULL DEFAULT '',
  -- No position up to this one is given again: buyers may have been told of it though nobody remembers it.
  ADD COLUMN position_floor bigint NOT NULL DEFAULT 0;

-- Each recovery that opened a sale or could not, and those that operators asked for.
CREATE TABLE sale_recoveries (
  recovery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sale_id text NOT NULL,
  -- `persister`: by itself.
  actor text NOT NULL,
  request_id text NOT NULL,
  state text NOT NULL CHECK (state IN ('requested', 'done')),
  -- renewed: Redis had lost nothing. rebuilt: from what is here. removed: there was nothing to be had.
  -- blocked: the sale stays closed, the report says why.
  outcome text CHECK (outcome IN ('renewed', 'rebuilt', 'removed', 'blocked')),
  report jsonb NOT NULL DEFAULT '{}',
  requested_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CHECK ((state = 'done') = (outcome IS NOT NULL AND finished_at IS NOT NULL))
);
CREATE INDEX sale_recoveries_by_sale ON sale_recoveries (sale_id, recovery_id);
CREATE INDEX sale_recoveries_requested ON sale_recoveries (recovery_id) WHERE state = 'requested';
