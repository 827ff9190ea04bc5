-- What PostgreSQL remembers: definitions and stock as operators gave them, reservations as Redis decided them.

CREATE TABLE sales (
  sale_id text PRIMARY KEY CHECK (sale_id ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
  name text NOT NULL,
  currency char(3) NOT NULL,
  status text NOT NULL CHECK (status IN ('draft', 'open', 'paused', 'ended')),
  starts_at timestamptz,
  ends_at timestamptz,
  per_buyer_limit integer NOT NULL CHECK (per_buyer_limit > 0),
  hold_seconds integer NOT NULL CHECK (hold_seconds > 0),
  -- The number of the last operation written; operations that Redis has not applied yet are pending.
  last_operation bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sale_skus (
  sale_id text NOT NULL REFERENCES sales ON DELETE CASCADE,
  sku text NOT NULL,
  ordinal integer NOT NULL,
  name text NOT NULL,
  price bigint NOT NULL CHECK (price >= 0),
  PRIMARY KEY (sale_id, sku)
);

-- Every change by an operator, numbered in its sale without gaps: written here first, then applied to Redis, in
-- order and once. A pending one is repaired by applying it again.
CREATE TABLE sale_operations (
  sale_id text NOT NULL REFERENCES sales ON DELETE CASCADE,
  operation bigint NOT NULL,
  action text NOT NULL,
  -- The whole definition after this operation, and the changes of stock: what apply-operation takes.
  definition jsonb NOT NULL,
  changes jsonb NOT NULL DEFAULT '[]',
  outcome text NOT NULL DEFAULT 'pending' CHECK (outcome IN ('pending', 'applied', 'insufficient_stock')),
  actor text NOT NULL,
  request_id text NOT NULL,
  idempotency_key text,
  -- What a repeated key must equal to be the same request.
  request_digest text,
  created_at timestamptz NOT NULL DEFAULT now(),
  applied_at timestamptz,
  PRIMARY KEY (sale_id, operation)
);
CREATE UNIQUE INDEX sale_operations_by_key ON sale_operations (sale_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
-- A creation may leave the sale's id to us, so its key has to be found without one.
CREATE UNIQUE INDEX sale_operations_by_creation_key ON sale_operations (idempotency_key)
  WHERE operation = 1 AND idempotency_key IS NOT NULL;
CREATE INDEX sale_operations_pending ON sale_operations (sale_id, operation) WHERE outcome = 'pending';

-- Every unit that was ever loaded or withdrawn. The stock of a SKU is the sum of what was applied.
CREATE TABLE stock_ledger (
  sale_id text NOT NULL,
  operation bigint NOT NULL,
  sku text NOT NULL,
  delta bigint NOT NULL,
  reason text NOT NULL DEFAULT '',
  outcome text NOT NULL DEFAULT 'pending' CHECK (outcome IN ('pending', 'applied', 'insufficient_stock')),
  -- What Redis counted right after the change, or the refusal: a repeated request gets the answer of the first.
  loaded_after bigint,
  remaining_after bigint,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (sale_id, operation, sku),
  FOREIGN KEY (sale_id, operation) REFERENCES sale_operations ON DELETE CASCADE
);

CREATE TABLE reservations (
  reservation_id text PRIMARY KEY,
  sale_id text NOT NULL,
  buyer_id text NOT NULL,
  status text NOT NULL CHECK (status IN ('reserved', 'confirmed', 'cancelled', 'expired')),
  items jsonb NOT NULL,
  total bigint NOT NULL,
  currency char(3) NOT NULL,
  position bigint NOT NULL,
  version integer NOT NULL,
  idempotency_key text NOT NULL,
  reserved_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  request_id text NOT NULL,
  traceparent text NOT NULL,
  -- When the row became durable, for measuring how far behind Redis it came.
  persisted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX reservations_by_position ON reservations (sale_id, position);
CREATE INDEX reservations_by_buyer ON reservations (buyer_id, sale_id);
-- For listing over all sales, newest first. Time alone, without the id: it grows at its right edge only, and the
-- rows of a batch share one time, which a B-tree stores once.
CREATE INDEX reservations_by_time ON reservations (reserved_at);

-- Each reservation's history: one row a version.
CREATE TABLE reservation_events (
  reservation_id text NOT NULL,
  version integer NOT NULL,
  sale_id text NOT NULL,
  -- The number of the event in its sale, from 1 without gaps.
  event bigint NOT NULL,
  status text NOT NULL,
  occurred_at timestamptz NOT NULL,
  detail text NOT NULL,
  request_id text NOT NULL,
  traceparent text NOT NULL,
  PRIMARY KEY (reservation_id, version)
);
CREATE UNIQUE INDEX reservation_events_by_number ON reservation_events (sale_id, event);

-- How far into each sale's stream PostgreSQL has come; written in the transaction that brought it there.
CREATE TABLE checkpoints (
  sale_id text PRIMARY KEY,
  -- The newest stream entry written, as its two numbers, so that they compare.
  entry_ms bigint NOT NULL,
  entry_sequence bigint NOT NULL,
  -- The number of its last event.
  event bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- Events that PostgreSQL refused, with its reason. An operator asks for another try; the persister does it.
CREATE TABLE dead_letters (
  dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sale_id text NOT NULL,
  entry_id text NOT NULL,
  -- Null: the entry as a whole could not be read.
  event bigint,
  currency text NOT NULL,
  payload text NOT NULL,
  reason text NOT NULL,
  attempts integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  retry_requested_at timestamptz,
  resolved_at timestamptz,
  UNIQUE NULLS NOT DISTINCT (sale_id, entry_id, event)
);

-- Who did what to which sale, beside what buyers did.
CREATE TABLE audit_log (
  audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  actor text NOT NULL,
  action text NOT NULL,
  sale_id text,
  request_id text NOT NULL,
  details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_by_sale ON audit_log (sale_id, audit_id);
