-- Finds reservations by the payment that a merchant named, which is in the detail of an event. Few events name one, so
-- the index is small and most writes do not touch it. While it is built (a second for a million events), the history
-- accepts no writes, so migrate between sales.

-- As JSON has it: quotes and backslashes are escaped. In no other place can a detail have this text without a backslash.
CREATE FUNCTION payment_of(detail text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN substring(detail FROM '"paymentRef":"((?:[^"\\]|\\.)*)"');

CREATE INDEX reservation_events_by_payment ON reservation_events (payment_of(detail))
  WHERE detail LIKE '%"paymentRef":"%';
