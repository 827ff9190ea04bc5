#!lua flags=allow-oom
-- Opens a sale again on a server that has all that PostgreSQL has of it. Runs on a full Redis too: only an open sale is
-- drained.
--
-- KEYS   sale rebuild newBuyers newPast newOrder newHolds newLine newWaiting
-- ARGV   fence timeline closing events operation positionFloor
--        timeline       the new one
--        closing        the closing id of this recovery
--        events, operation  the last that PostgreSQL has
--        positionFloor  new positions come after it: buyers may have seen lost reservations up to it
-- REPLY  renewed, behind (this server has less than PostgreSQL), superseded (by another recovery), unknown_sale

local sale = redis.call('HMGET', key_sale, 'fence', 'timeline', 'events', 'operation', 'position', 'gaps', 'forgotten',
  'closing')
if not sale[1] or sale[7] then return 'unknown_sale' end
if sale[8] ~= arg_closing or tonumber(sale[2] or 0) >= tonumber(arg_timeline) then return 'superseded' end
if tonumber(sale[3]) < tonumber(arg_events) or tonumber(sale[4]) < tonumber(arg_operation) then return 'behind' end

local skip = arg_position_floor - sale[5]
if skip > 0 then
  local position = string.format('%.0f', sale[5])
  redis.call('HSET', key_sale, 'position', string.format('%.0f', sale[5] + skip),
    'gaps', (sale[6] or '') .. position .. ':' .. string.format('%.0f', skip) .. ' ')
end
redis.call('HSET', key_sale, 'fence', arg_fence, 'timeline', arg_timeline)
redis.call('HDEL', key_sale, 'closing', 'closings', 'lastFence', 'wasPromoted')
-- What a killed rebuild has left.
redis.call('UNLINK', key_rebuild, key_new_buyers, key_new_past, key_new_order, key_new_holds, key_new_line,
  key_new_waiting)
return 'renewed'
