#!lua flags=allow-oom
-- Closes a sale that has ended and has no holds, before it is archived: nothing is decided any more, and PostgreSQL has
-- every event. Otherwise it writes nothing. Runs on a full Redis too, since an archived sale frees memory.
--
-- KEYS   sale stock
-- ARGV   fence closing timeline events operation
--        closing   a new closing id, which also ends a recovery that runs without its locks
--        timeline, events, operation  the last ones that PostgreSQL has
-- REPLY  closed, not_ended, holds_not_settled, events_not_durable, or recovering (the sale is not open on this server
--        and on that timeline, or lacks something that PostgreSQL has)

--@include time

local sale = redis.call('HMGET', key_sale, 'fence', 'timeline', 'status', 'endsAt', 'events', 'operation')
if sale[1] ~= arg_fence or (sale[2] or '0') ~= arg_timeline then return 'recovering' end
if not has_ended(sale[3], sale[4]) then return 'not_ended' end
local stock = redis.call('HGETALL', key_stock)
for i = 1, #stock, 2 do
  if string.find(stock[i], ':held', 1, true) and stock[i + 1] ~= '0' then return 'holds_not_settled' end
end
if tonumber(sale[5]) > tonumber(arg_events) then return 'events_not_durable' end
if sale[5] ~= arg_events or sale[6] ~= arg_operation then return 'recovering' end

redis.call('HSET', key_sale, 'fence', '', 'closing', arg_closing)
return 'closed'
