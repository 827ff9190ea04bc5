-- What hot paths counted of a sale: the responses to purchases by outcome, and how long they took. Refusals are no
-- reservations, so nothing else knows of them. One row for each process that served the sale, written by persisters while it
-- does; the counts only grow. The report of the sale adds the rows up.

CREATE TABLE sale_purchase_counts (
  sale_id text NOT NULL REFERENCES sales ON DELETE CASCADE,
  -- A random name, different after each start of the process.
  process_id text NOT NULL,
  -- When the process began to count this sale, by its clock.
  since timestamptz NOT NULL,
  -- Outcome -> purchases.
  outcomes jsonb NOT NULL,
  purchases bigint NOT NULL,
  without_redis bigint NOT NULL,
  -- Purchases by latency, see src/counters/latency-buckets.ts. Empty: not known.
  latencies text NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (sale_id, process_id, since)
);
