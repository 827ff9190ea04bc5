-- Reservations from the waitlist may be held for another time than purchases. Null: for the same time, as in all earlier
-- sales. A new column without a default rewrites nothing, so this takes a moment also while sales run.

ALTER TABLE sales ADD COLUMN waitlist_hold_seconds integer CHECK (waitlist_hold_seconds > 0);
