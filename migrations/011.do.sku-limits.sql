-- A SKU may have a limit per buyer of its own. Null: only the limit of the sale holds, as for all earlier sales. A new
-- column without a default rewrites nothing, so this takes a moment also while sales run.

ALTER TABLE sale_skus ADD COLUMN per_buyer_limit integer CHECK (per_buyer_limit > 0);
