-- Redis stores which database belongs to it, so that a copy of this database or another one never consumes its decisions.
-- The random id tells this database from all others. A copy has the same id, so src/postgres/database-identity.ts adds
-- what PostgreSQL changes in a copy.

CREATE TABLE database_identity (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  identity uuid NOT NULL DEFAULT gen_random_uuid(),
  -- What the identity was, with those additions, when a Redis last belonged to this database. Another value than now: this
  -- is a copy, which must not take an empty Redis for its own. Null: no Redis ever did.
  paired_as text,
  created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO database_identity DEFAULT VALUES;
