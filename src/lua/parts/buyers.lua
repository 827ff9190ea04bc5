-- The records of buyers, wherever they are: in the buyer's field, or in `past` behind the index in that field, see
-- buyer-index.lua.
--
-- NEEDS    key_buyers key_past call now each_record join_records parse_record is_overdue status_and_position has_items items_of
--          left_of summary_of record_by_key is_sent INLINE_BYTES_MAX past_record_field older_past_field past_key_field is_long
--          is_index parse_index format_index add_living keyless_positions change_in_index index_of_records
--          short
-- EXPORTS  buyer_texts LIVING_MAX load_records is_oversize summary_of_buyer lasting_of held_of keyless_record keyed_record
--          records_at add_first_record add_record replace_record has_moved write_buyers

-- buyer_texts[buyer] = the field of a buyer that is loaded and has records; see text_of().
local buyer_texts = {}
-- In a block, because a script has at most 200 local names.
local LIVING_MAX, load_records, is_oversize, summary_of_buyer, lasting_of, held_of, keyless_record
local keyed_record, records_at, add_first_record, add_record, replace_record, has_moved, write_buyers
do
-- Bounds the index, and what a buyer can look at.
LIVING_MAX = 20
-- Longer fields are those of earlier versions, which had up to 1,000 records there. A call that decides a batch makes an
-- index of such fields until it has moved this many records; it refuses the other buyers with such fields.
local FIELD_BYTES_MAX, MOVED_MAX = 4096, 100
-- HSET in parts: unpack() returns fewer than 8,000 values.
local VALUES_AT_ONCE = 4000

-- indexes[buyer]: the index in use instead of the buyer's text.
local indexes, changed = {}, {}
-- summaries[buyer]: of a buyer without index.
local summaries = {}
-- Fields of `past` that write_buyers() writes.
local past, moved = {}, 0
-- Buyer, record, … of buyers who had none. In an array, because nearly all buyers of a batch are in it.
local firsts, firsts_size = {}, 0

function load_records(buyers)
  local missing = buyers
  -- Mostly this is the first call, with nothing to leave out.
  if next(buyer_texts) then
    missing = {}
    for _, buyer in ipairs(buyers) do
      if not buyer_texts[buyer] then missing[#missing + 1] = buyer end
    end
  end
  if #missing == 0 then return end
  local values, found = call('HMGET', key_buyers, unpack(missing)), {}
  for i = 1, #values do
    local text = values[i]
    if text and text ~= '' then
      buyer_texts[missing[i]] = text
      found[#found + 1] = text
    end
  end
  short.load_terms(found)
end

-- The field with whole records; empty if there are none. Throws if the terms of a short one are missing.
local function text_of(buyer)
  local text = buyer_texts[buyer] or ''
  if short.is(text) then
    text = short.expand(text)
    buyer_texts[buyer] = text
  end
  return text
end

-- True: the field is of an earlier version, and this call has no time left to read it.
function is_oversize(buyer) return #buyer_texts[buyer] > FIELD_BYTES_MAX and moved >= MOVED_MAX end

local function put_record(buyer, position, text, key)
  past[past_record_field(buyer, position)] = text
  if key and is_sent(key) then past[past_key_field(buyer, key)] = position end
  moved = moved + 1
end

local function make_index(buyer)
  local index, records = index_of_records(text_of(buyer))
  for _, record in ipairs(records) do
    put_record(buyer, string.format('%.0f', record.position), record.text, record.key)
  end
  index.buyer = buyer
  indexes[buyer], changed[buyer] = index, true
  return index
end

-- The buyer's index; nil: the field has the records. Throws for a damaged field.
local function index_of(buyer)
  if not indexes[buyer] then
    local text = text_of(buyer)
    if is_index(text) then
      indexes[buyer] = parse_index(text)
      indexes[buyer].buyer = buyer
    elseif is_long(text) then
      make_index(buyer)
    end
  end
  return indexes[buyer]
end

-- {units, living, cool_from, …}, see buyer-index.lua and summary_of() in record.lua. Throws for a damaged field.
function summary_of_buyer(buyer)
  local summary = index_of(buyer) or summaries[buyer]
  if not summary then
    summary = summary_of(text_of(buyer))
    summaries[buyer] = summary
  end
  return summary
end

-- The summary without the holds that are past their deadline but not yet swept.
function lasting_of(buyer)
  local index = index_of(buyer)
  if index then
    local lasting = { units = 0, living = 0, buyer = buyer, lists = '' }
    for text, units, expires in string.gmatch(index.lists, '( %d+:(%d+):(%d+):%x*)') do
      if expires == '0' or tonumber(expires) > now then
        lasting.units, lasting.living = lasting.units + units, lasting.living + 1
        lasting.lists = lasting.lists .. text
      end
    end
    return lasting
  end
  local lasting = {}
  for text in each_record(text_of(buyer)) do
    if not is_overdue(text, now) then lasting[#lasting + 1] = text end
  end
  return summary_of(join_records(lasting))
end

local function past_value(field) return past[field] or call('HGET', key_past, field) or nil end

-- A record that the buyer's field does not have; nil: nor does the past.
local function past_record(buyer, position)
  return past_value(past_record_field(buyer, position)) or past_value(older_past_field(buyer, position))
end

-- The items of each living reservation in a summary that are left. An index has no items, so their records are read; only limits of SKUs
-- need them.
function held_of(summary)
  if not summary.held then
    summary.held = {}
    for position in string.gmatch(summary.lists, ' (%d+):%d+:') do
      summary.held[#summary.held + 1] = left_of(items_of(past_record(summary.buyer, position) or ''))
    end
  end
  return summary.held
end

-- The first living reservation that a request without a key for these items repeats, or nil.
function keyless_record(buyer, items)
  local index = index_of(buyer)
  if not index then return summary_of_buyer(buyer).keyless[items] end
  for _, position in ipairs(keyless_positions(index, items)) do
    local record = past_record(buyer, position)
    if record and has_items(record, items) then return record end
  end
end

-- The reservation that was made with this key, or nil. A buyer with few records has no past.
function keyed_record(buyer, key)
  if not index_of(buyer) then return record_by_key(text_of(buyer), key) end
  local position = past_value(past_key_field(buyer, key))
  return position and past_record(buyer, position)
end

-- The records at these positions, in the order of positions; those that the buyer does not have are left out.
function records_at(buyer, positions)
  local records = {}
  if index_of(buyer) then
    for _, position in ipairs(positions) do records[#records + 1] = past_record(buyer, position) end
    return records
  end
  local is_asked = {}
  for _, position in ipairs(positions) do is_asked[position] = true end
  for text in each_record(text_of(buyer)) do
    local _, position = status_and_position(text)
    if is_asked[position] then records[#records + 1] = text end
  end
  return records
end

-- Adds the first record of a buyer, which may be short.
function add_first_record(buyer, record)
  local size = firsts_size + 2
  firsts[size - 1], firsts[size] = buyer, record
  firsts_size = size
  buyer_texts[buyer] = record
end

-- Adds the record of a new reservation; all but the units are texts.
function add_record(buyer, record, position, units, expires, key, items)
  if not buyer_texts[buyer] then return add_first_record(buyer, record) end
  changed[buyer] = true
  local text = text_of(buyer)
  local index = index_of(buyer) or (#text + 1 + #record > INLINE_BYTES_MAX and make_index(buyer))
  if index then
    add_living(index, position, units, expires, key, items)
    index.held, index.units_of = nil, nil
    put_record(buyer, position, record, key)
  else
    buyer_texts[buyer], summaries[buyer] = text .. '\n' .. record, nil
  end
end

-- Puts the next version of a record, as a text, in the place of the old one, which is parsed.
function replace_record(buyer, old, record)
  changed[buyer] = true
  local index = index_of(buyer)
  if index then
    change_in_index(index, parse_record(record))
    index.held, index.units_of = nil, nil
    put_record(buyer, string.format('%.0f', old.position), record)
    return
  end
  local records = {}
  for text in each_record(text_of(buyer)) do records[#records + 1] = text == old.text and record or text end
  buyer_texts[buyer], summaries[buyer] = join_records(records), nil
end

-- Whether records have moved to the past.
function has_moved() return moved > 0 end

local function write_fields(key, fields)
  for first = 1, #fields, VALUES_AT_ONCE do
    call('HSET', key, unpack(fields, first, math.min(first + VALUES_AT_ONCE - 1, #fields)))
  end
end

function write_buyers()
  if firsts_size > 0 then write_fields(key_buyers, firsts) end
  -- Afterwards: a first record may have changed in this call.
  local fields = {}
  for buyer in pairs(changed) do
    local at, index = #fields, indexes[buyer]
    fields[at + 1], fields[at + 2] = buyer, index and format_index(index) or buyer_texts[buyer]
  end
  if #fields > 0 then write_fields(key_buyers, fields) end
  if not has_moved() then return end
  fields = {}
  for field, value in pairs(past) do
    local at = #fields
    fields[at + 1], fields[at + 2] = field, value
  end
  write_fields(key_past, fields)
end
end
