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

--@include record buyer-index

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
  local staged, indexes, past = {}, {}, {}
  for i, field in ipairs(redis.call('HMGET', key_new_buyers, unpack(buyers))) do staged[buyers[i]] = field or '' end
  local function put_record(buyer, record)
    local position = string.format('%.0f', record.position)
    past[#past + 1] = past_record_field(buyer, position)
    past[#past + 1] = record.text
    if is_sent(record.key) then
      past[#past + 1] = past_key_field(buyer, record.key)
      past[#past + 1] = position
    end
  end
  -- A buyer's records arrive in the order of their positions.
  for i, buyer in ipairs(buyers) do
    local text, field = records[2 * i], staged[buyer]
    local index = indexes[buyer] or (is_index(field) and parse_index(field))
    if not index and field ~= '' and #field + 1 + #text > INLINE_BYTES_MAX then
      local moved
      index, moved = index_of_records(field)
      for _, record in ipairs(moved) do put_record(buyer, record) end
    end
    if index then
      local record = parse_record(text)
      indexes[buyer] = index
      add_to_index(index, record)
      put_record(buyer, record)
    else
      staged[buyer] = field == '' and text or field .. '\n' .. text
    end
  end
  local fields = {}
  for buyer, field in pairs(staged) do
    fields[#fields + 1] = buyer
    fields[#fields + 1] = indexes[buyer] and format_index(indexes[buyer]) or field
  end
  redis.call('HSET', key_new_buyers, unpack(fields))
  if #past > 0 then redis.call('HSET', key_new_past, unpack(past)) end
end

if #portion.notes > 0 then redis.call('HSET', key_new_past, unpack(portion.notes)) end
for i = 1, #portion.line, 2 do
  redis.call('ZADD', key_new_line, '0', portion.line[i])
  redis.call('HSET', key_new_waiting, portion.line[i + 1], portion.line[i])
end
return 'staged'
