#!lua flags=allow-oom
-- Puts the marker of an archived sale in the place of all that this server has of it, whatever that is: PostgreSQL alone
-- decides for the sale since it was archived. Runs on a full Redis too, since it frees memory.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting rebuild newBuyers newPast newOrder newHolds newLine newWaiting
-- ARGV   fence
--        fence  not compared
-- REPLY  marked
--
-- No server has an empty run id, so scripts of earlier versions reply `recovering` and write nothing.

redis.call('UNLINK', key_sale, key_stock, key_buyers, key_past, key_terms, key_order, key_holds, key_events, key_line, key_line_by_quantity,
  key_waiting, key_rebuild, key_new_buyers, key_new_past, key_new_order, key_new_holds, key_new_line, key_new_waiting)
redis.call('HSET', key_sale, 'fence', '', 'status', 'archived')
return 'marked'
