-- The records of buyers: the field that a purchase reads, and the past behind it, see past.lua.
--
-- NEEDS    key_buyers key_past call now basket_of each_record join_records parse_record summary_of ENDED_KEPT
--          past_field past_key_field is_short split_past
-- EXPORTS  LIVING_MAX records_of changed_buyers load_records summary_of_buyer lasting_of shorten is_oversize
--          past_record past_record_by_key write_buyers

-- A purchase reads all living reservations of its buyer, so their number must have a limit, beside that of their units.
local LIVING_MAX = 20
-- Ended records that one call moves to the past. More are surplus only in fields of earlier versions, which moved none.
local MOVED_MAX = 100
-- No field of this version is longer: LIVING_MAX and ENDED_KEPT records of the longest basket.
local FIELD_BYTES_MAX = 32768

-- records_of[buyer] = the buyer's records; '' for none.
local records_of, changed_buyers = {}, {}
-- Fields of `past` that write_buyers() writes.
local past, moved = {}, 0

local function load_records(buyers)
  local missing = {}
  for _, buyer in ipairs(buyers) do
    if not records_of[buyer] then missing[#missing + 1] = buyer end
  end
  if #missing == 0 then return end
  local values = call('HMGET', key_buyers, unpack(missing))
  for i, buyer in ipairs(missing) do records_of[buyer] = values[i] or '' end
end

-- See record.lua.
local function summary_of_buyer(buyer) return summary_of(records_of[buyer], basket_of) end

-- The summary without the holds that are past their deadline but not yet swept.
local function lasting_of(buyer)
  local lasting = {}
  for text in each_record(records_of[buyer]) do
    local record = parse_record(text)
    local is_hold = record.status == 'R' or record.status == 'P'
    if not (is_hold and record.expires <= now) then lasting[#lasting + 1] = text end
  end
  return summary_of(join_records(lasting), basket_of)
end

-- Moves ended records that the field should not have to the past; for a buyer whose reservations have just ended.
local function shorten(buyer)
  local records = records_of[buyer]
  if is_short(records) or moved >= MOVED_MAX then return end
  local kept, count = split_past(buyer, records, past, MOVED_MAX - moved)
  if count == 0 then return end
  records_of[buyer], changed_buyers[buyer], moved = kept, true, moved + count
end

-- True: the field is of an earlier version, and this call has no time left to read it.
local function is_oversize(buyer) return #records_of[buyer] > FIELD_BYTES_MAX and moved >= MOVED_MAX end

local function past_value(field) return past[field] or call('HGET', key_past, field) or nil end

-- A record that the buyer's field does not have; nil: nor does the past.
local function past_record(buyer, position) return past_value(past_field(buyer, position)) end

-- `ended` is the number of ended records in the field: with fewer than ENDED_KEPT, the buyer has no past.
local function past_record_by_key(buyer, key, ended)
  local position = ended >= ENDED_KEPT and past_value(past_key_field(buyer, key))
  return position and past_record(buyer, position)
end

local function write_buyers()
  local fields = {}
  for buyer in pairs(changed_buyers) do
    local at = #fields
    fields[at + 1], fields[at + 2] = buyer, records_of[buyer]
  end
  if #fields > 0 then call('HSET', key_buyers, unpack(fields)) end
  if moved == 0 then return end
  local past_fields = {}
  for field, value in pairs(past) do
    local at = #past_fields
    past_fields[at + 1], past_fields[at + 2] = field, value
  end
  call('HSET', key_past, unpack(past_fields))
end
