-- The persister's work follows events: it reads every second only the sales that have changed since, and the recoveries
-- that operators requested.

CREATE INDEX sales_by_change ON sales (greatest(updated_at, archived_at));
CREATE INDEX sale_recoveries_requested_by_sale ON sale_recoveries (sale_id) WHERE state = 'requested';

-- The outbox: written in the transaction of the event itself, one row however many endpoints receive it. A persister
-- replaces it by one delivery for each endpoint.
CREATE TABLE webhook_messages (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  message_id text NOT NULL,
  event_type text NOT NULL,
  sale_id text NOT NULL,
  -- The body as it is sent and signed, byte for byte.
  payload text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
