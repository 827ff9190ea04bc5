-- Whether a buyer bought a reservation or the waitlist gave it: `SELECT r.source, count(*) FROM reservations r GROUP BY 1`.
-- The key of a reservation from the waitlist has a space, which no buyer can send. A function of the row, not a column:
-- nothing is rewritten while sales run, and rows that processes of the previous version write have it too.

CREATE FUNCTION source(reservations) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN ($1).idempotency_key LIKE 'waitlist %' THEN 'waitlist' ELSE 'purchase' END;
