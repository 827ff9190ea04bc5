-- A new reservation is one row: its first event follows from it, so the row stores only the number of that event. The
-- history has the first events of earlier reservations, and every later event. A new column without a default rewrites
-- nothing, so this takes a moment also while sales run.

-- Null: the first event is in reservation_events.
ALTER TABLE reservations ADD COLUMN first_event bigint;

-- Every event of every reservation, wherever it is stored.
CREATE VIEW reservation_history AS
  SELECT reservation_id, 1 AS version, sale_id, first_event AS event, 'reserved' AS status, reserved_at AS occurred_at,
    CASE reservations.source WHEN 'waitlist' THEN 'waitlist' ELSE '' END AS detail, request_id, traceparent
  FROM reservations WHERE first_event IS NOT NULL
  UNION ALL
  SELECT reservation_id, version, sale_id, event, status, occurred_at, detail, request_id, traceparent
  FROM reservation_events;

-- A persister of the previous version writes first events to the history, also when it repeats a batch that a newer
-- persister has written. Then nothing is inserted, so that each event is there once.
CREATE FUNCTION keep_first_event_once() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  known bigint;
BEGIN
  SELECT first_event INTO known FROM reservations WHERE reservation_id = NEW.reservation_id;
  IF known IS NULL THEN
    RETURN NEW;
  ELSIF known = NEW.event THEN
    RETURN NULL;
  END IF;
  RAISE unique_violation
    USING MESSAGE = format('the first event of %s is %s, not %s', NEW.reservation_id, known, NEW.event);
END $$;
CREATE TRIGGER reservation_events_first_once
  BEFORE INSERT ON reservation_events FOR EACH ROW WHEN (NEW.version = 1)
  EXECUTE FUNCTION keep_first_event_once();
