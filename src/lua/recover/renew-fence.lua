#!lua flags=allow-oom
-- Opens a sale again on a server that has all that PostgreSQL knows of it; also on a full one, for only an open sale is
-- drained.
--
-- KEYS   sale rebuild newBuyers newOrder newHolds newLine newWaiting
-- ARGV   fence timeline closing events operation positionFloor
--        timeline   the new one; events, operation  the last that PostgreSQL has
--        closing    by which this recovery closed and drained it
--        positionFloor  no position up to this one is given: it may have been told to a buyer and forgotten
-- REPLY  renewed, behind (this server knows less than PostgreSQL), superseded (by another recovery), unknown_sale

local sale = redis.call('HMGET', KEYS[1], 'fence', 'timeline', 'events', 'operation', 'position', 'gaps', 'forgotten',
  'closing')
if not sale[1] or sale[7] then return 'unknown_sale' end
if sale[8] ~= ARGV[3] or tonumber(sale[2] or 0) >= tonumber(ARGV[2]) then return 'superseded' end
if tonumber(sale[3]) < tonumber(ARGV[4]) or tonumber(sale[4]) < tonumber(ARGV[5]) then return 'behind' end

local skip = ARGV[6] - sale[5]
if skip > 0 then
  local position = string.format('%.0f', sale[5])
  redis.call('HSET', KEYS[1], 'position', string.format('%.0f', sale[5] + skip),
    'gaps', (sale[6] or '') .. position .. ':' .. string.format('%.0f', skip) .. ' ')
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'timeline', ARGV[2])
redis.call('HDEL', KEYS[1], 'closing', 'wasPromoted')
-- What a rebuild that died has left.
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'renewed'
