-- Webhooks: who wants to hear of what, what is to be sent to them, and what was last announced of each sale.

CREATE TABLE webhook_endpoints (
  webhook_id text PRIMARY KEY,
  url text NOT NULL,
  description text NOT NULL DEFAULT '',
  -- The types of events it wants; empty: all, also those that do not exist yet.
  events text[] NOT NULL DEFAULT '{}',
  -- Null: of every sale.
  sale_id text,
  -- What deliveries are signed with. Leaves this table only to be shown once and to sign.
  secret text NOT NULL,
  -- disabled: the endpoint answered that it is gone. deleted: kept until its deliveries are removed.
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'deleted')),
  -- The circuit breaker; see src/persister/webhooks/breaker.ts. Null: closed.
  paused_until timestamptz,
  failures_in_row integer NOT NULL DEFAULT 0,
  -- How often in a row it was paused, from which the length of the next pause follows.
  pauses_in_row integer NOT NULL DEFAULT 0,
  last_error text,
  last_failure_at timestamptz,
  last_success_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- The outbox: written in the transaction of the event itself, one row for each endpoint that wants it. An event is
-- new only once (reservation_events, sale_announcements), so its rows need no unique index of their own. Nor do they
-- refer to the endpoint: one that is deleted at that moment would be a reason to refuse the event.
CREATE TABLE webhook_deliveries (
  delivery_id bigint GENERATED ALWAYS AS IDENTITY,
  webhook_id text NOT NULL,
  -- Follows from the event: the same in every try, for every endpoint.
  message_id text NOT NULL,
  event_type text NOT NULL,
  sale_id text NOT NULL,
  -- The body as it is sent and signed, byte for byte.
  payload text NOT NULL,
  state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
  -- Tries since it was made, or since an operator asked for it again.
  attempts integer NOT NULL DEFAULT 0,
  -- When it is tried next. Whoever takes it moves this on first, so that it comes back by itself if they die.
  due_at timestamptz NOT NULL DEFAULT now(),
  -- A try that fails after this was the last one.
  give_up_at timestamptz NOT NULL DEFAULT now() + interval '24 hours',
  last_status integer,
  last_error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  PRIMARY KEY (webhook_id, delivery_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (webhook_id, delivery_id) WHERE state = 'dead';
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE state <> 'pending';

-- What was last announced of each sale. Its row is the lock under which the next announcement is decided.
CREATE TABLE sale_announcements (
  sale_id text PRIMARY KEY,
  -- waiting: not announced yet.
  phase text NOT NULL DEFAULT 'waiting' CHECK (phase IN ('waiting', 'opened', 'ended')),
  sold_out boolean NOT NULL DEFAULT false,
  -- Announcements so far: their ids are counted by it.
  announcements integer NOT NULL DEFAULT 0,
  -- Redis' clock at the newest look that was acted on: an older look of a slower process says nothing.
  looked_at_ms bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now()
);
