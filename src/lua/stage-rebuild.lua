#!lua flags=allow-oom
-- Puts a portion of a sale's reservations and of its line beside the sale, to take their place when all are there; also
-- on a full server, for a sale that stays closed is worse than memory that is short for a moment.
--
-- KEYS   rebuild newBuyers newOrder newHolds newLine newWaiting
-- ARGV   fence timeline part portion
--        part     counts from 1; the first one begins anew
--        portion  JSON {order: [buyer], records: [buyer, record, …], holds: [deadline, member, …],
--                 line: [member, field, …]}
-- REPLY  staged, superseded (by a later recovery, or the server is not what it was for the part before)

local fence, timeline, part = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local stage = redis.call('HMGET', KEYS[1], 'fence', 'timeline', 'part')
if tonumber(stage[2] or 0) > timeline then return 'superseded' end
if part == 1 then
  redis.call('UNLINK', unpack(KEYS))
elseif stage[1] ~= fence or tonumber(stage[2]) ~= timeline or tonumber(stage[3]) ~= part - 1 then
  return 'superseded'
end
redis.call('HSET', KEYS[1], 'fence', fence, 'timeline', ARGV[2], 'part', ARGV[3])

local portion = cjson.decode(ARGV[4])
if #portion.order > 0 then redis.call('RPUSH', KEYS[3], unpack(portion.order)) end
if #portion.holds > 0 then redis.call('ZADD', KEYS[4], unpack(portion.holds)) end

-- A buyer's records stand in the order of their positions, which is the order they come in.
local buyers, known = {}, {}
for i = 1, #portion.records, 2 do
  local buyer = portion.records[i]
  if not known[buyer] then
    known[buyer] = ''
    buyers[#buyers + 1] = buyer
  end
end
if #buyers > 0 then
  for i, records in ipairs(redis.call('HMGET', KEYS[2], unpack(buyers))) do known[buyers[i]] = records or '' end
  for i = 1, #portion.records, 2 do
    local buyer, record = portion.records[i], portion.records[i + 1]
    known[buyer] = known[buyer] == '' and record or (known[buyer] .. '\n' .. record)
  end
  local fields = {}
  for _, buyer in ipairs(buyers) do
    fields[#fields + 1] = buyer
    fields[#fields + 1] = known[buyer]
  end
  redis.call('HSET', KEYS[2], unpack(fields))
end

for i = 1, #portion.line, 2 do
  redis.call('ZADD', KEYS[5], '0', portion.line[i])
  redis.call('HSET', KEYS[6], portion.line[i + 1], portion.line[i])
end
return 'staged'
