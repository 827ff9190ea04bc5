#!lua flags=allow-oom
-- Deletes a draft: everything that this server has under its id. A sale that was open once, or that has reservations,
-- stays. Runs on a full Redis too, since it frees memory.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting rebuild newBuyers newPast newOrder newHolds newLine newWaiting
-- ARGV   fence timeline
--        fence     not compared
--        timeline  of the draft in PostgreSQL
-- REPLY  deleted (or there was nothing), kept, another (kept, on an earlier timeline)

local sale = redis.call('HMGET', key_sale, 'status', 'forgotten', 'timeline')
local is_draft = sale[2] or not sale[1] or sale[1] == 'draft'
if not is_draft or redis.call('EXISTS', key_buyers, key_past, key_order) > 0 then
  local is_earlier = (tonumber(sale[3]) or math.huge) < tonumber(arg_timeline)
  return is_earlier and 'another' or 'kept'
end
redis.call('UNLINK', key_sale, key_stock, key_buyers, key_past, key_terms, key_order, key_holds, key_events, key_line,
  key_line_by_quantity, key_waiting, key_rebuild, key_new_buyers, key_new_past, key_new_order, key_new_holds,
  key_new_line, key_new_waiting)
return 'deleted'
