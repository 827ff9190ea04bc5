#!lua
-- Stages a portion of a sale's reservations and of its waitlist beside the sale's keys. finish-rebuild puts them in place.
-- Not on a full Redis: a large sale beyond maxmemory could end the server, and every sale on it.
--
-- KEYS   sale rebuild newBuyers newPast newOrder newHolds newLine newWaiting
-- ARGV   fence timeline part portion
--        part     counts from 1; the first one discards what was staged before
--        portion  JSON {records: [buyer, record, …], holds: [deadline, member, …], line: [member, field, …],
--                 notes: [field, note, …]}, reservations in the order of their positions; notes  see parts/merchant-note.lua
-- REPLY  staged, superseded (a newer sale exists, or a later recovery is in progress, or the previous part was staged on
--        another server)

--@include record past

local timeline, part = tonumber(arg_timeline), tonumber(arg_part)
-- Otherwise a process that was frozen could stage keys after the recovery, and nobody would delete them.
if (tonumber(redis.call('HGET', key_sale, 'timeline') or -1) or -1) >= timeline then return 'superseded' end
local stage = redis.call('HMGET', key_rebuild, 'fence', 'timeline', 'part')
if tonumber(stage[2] or 0) > timeline then return 'superseded' end
if part == 1 then
  redis.call('UNLINK', key_rebuild, key_new_buyers, key_new_past, key_new_order, key_new_holds, key_new_line,
    key_new_waiting)
elseif stage[1] ~= arg_fence or tonumber(stage[2]) ~= timeline or tonumber(stage[3]) ~= part - 1 then
  return 'superseded'
end
redis.call('HSET', key_rebuild, 'fence', arg_fence, 'timeline', arg_timeline, 'part', arg_part)

local portion = cjson.decode(arg_portion)
if #portion.holds > 0 then redis.call('ZADD', key_new_holds, unpack(portion.holds)) end

local records = portion.records
if #records > 0 then
  local buyers = {}
  for i = 1, #records, 2 do buyers[#buyers + 1] = records[i] end
  redis.call('RPUSH', key_new_order, unpack(buyers))
  -- A buyer's records are in the order of their positions, as they arrive. If a buyer occurs twice here, HSET keeps the
  -- last text, which has all records.
  local before, written, past = redis.call('HMGET', key_new_buyers, unpack(buyers)), {}, {}
  for i, buyer in ipairs(buyers) do
    local text = add_record(written[buyer] or before[i] or '', records[2 * i])
    if not is_short(text) then text = split_past(buyer, text, past, 1) end
    records[2 * i], written[buyer] = text, text
  end
  redis.call('HSET', key_new_buyers, unpack(records))
  local fields = {}
  for field, value in pairs(past) do
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if #fields > 0 then redis.call('HSET', key_new_past, unpack(fields)) end
end

if #portion.notes > 0 then redis.call('HSET', key_new_past, unpack(portion.notes)) end
for i = 1, #portion.line, 2 do
  redis.call('ZADD', key_new_line, '0', portion.line[i])
  redis.call('HSET', key_new_waiting, portion.line[i + 1], portion.line[i])
end
return 'staged'
