#!lua
-- Puts a portion of a sale's reservations and of its line beside the sale, to take their place when all are there. Not
-- on a full server: what a large sale takes beyond the memory that Redis may have could end Redis, and every sale on it.
--
-- KEYS   sale rebuild newBuyers newOrder newHolds newLine newWaiting
-- ARGV   fence timeline part portion
--        part     counts from 1; the first one begins anew
--        portion  JSON {records: [buyer, record, …], holds: [deadline, member, …], line: [member, field, …]},
--                 reservations in the order of their positions
-- REPLY  staged, superseded (there is a newer sale, or a later recovery is at it, or the server is not what it was for
--        the part before)

local fence, timeline, part = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- Else whoever was frozen, and dies before it can finish in vain, would leave behind what nobody frees.
if tonumber(redis.call('HGET', KEYS[1], 'timeline') or -1) >= timeline then return 'superseded' end
local stage = redis.call('HMGET', KEYS[2], 'fence', 'timeline', 'part')
if tonumber(stage[2] or 0) > timeline then return 'superseded' end
if part == 1 then
  for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
elseif stage[1] ~= fence or tonumber(stage[2]) ~= timeline or tonumber(stage[3]) ~= part - 1 then
  return 'superseded'
end
redis.call('HSET', KEYS[2], 'fence', fence, 'timeline', ARGV[2], 'part', ARGV[3])

local portion = cjson.decode(ARGV[4])
if #portion.holds > 0 then redis.call('ZADD', KEYS[5], unpack(portion.holds)) end

local records = portion.records
if #records > 0 then
  local buyers = {}
  for i = 1, #records, 2 do buyers[#buyers + 1] = records[i] end
  redis.call('RPUSH', KEYS[4], unpack(buyers))
  -- A buyer's records stand in the order of their positions, which is the order they come in. Of a buyer who comes
  -- twice here the last text, which has all of them, stays.
  local before, written = redis.call('HMGET', KEYS[3], unpack(buyers)), {}
  for i, buyer in ipairs(buyers) do
    local earlier, record = written[buyer] or before[i], records[2 * i]
    if earlier then
      record = earlier .. '\n' .. record
      records[2 * i] = record
    end
    written[buyer] = record
  end
  redis.call('HSET', KEYS[3], unpack(records))
end

for i = 1, #portion.line, 2 do
  redis.call('ZADD', KEYS[6], '0', portion.line[i])
  redis.call('HSET', KEYS[7], portion.line[i + 1], portion.line[i])
end
return 'staged'
