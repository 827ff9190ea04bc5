-- A buyer's field has the buyer's records while they are short. A buyer with more than INLINE_BYTES_MAX of them has an index
-- there instead, and each record in a field of `past`. So a purchase costs the same whatever its buyer has or had. The
-- counterpart in TypeScript is domain/buyer-index.ts.
--
--   #units living coolFrom TAB ended… TAB living…
--     units, living  of the living reservations. coolFrom  see parts/cool-down.lua; 0: no cool-down follows from the records
--     ended          ` position:reservedAt` of a hold that ended, ` position:` of another ended reservation: the ENDED_KEPT
--                    ones with the highest positions, in their order
--     living         ` position:units:expiresAt:basket` in the order of positions; units are those that are left;
--                    expiresAt is 0 if it is confirmed; basket is the start of the SHA-1 of the items as they were bought
--                    if a request without a key repeats the reservation, or empty
--
-- NEEDS    each_record parse_record is_living_letter is_keyless units_of bought_of
-- EXPORTS  INLINE_BYTES_MAX past_record_field older_past_field past_key_field is_long is_index parse_index format_index add_living keyless_positions
--          add_to_index change_in_index index_of_records record_fields_of

-- Three or four ordinary records. One record stays in the field, however long it is.
local INLINE_BYTES_MAX = 300
local ENDED_KEPT = 20

-- Fields of `past`. Earlier versions have written `older_past_field`, for ended records only; their scripts take a record that
-- they find there for an ended one, so living records must have another name.
local function past_record_field(buyer, position) return buyer .. '\t' .. position .. '\t' end
local function older_past_field(buyer, position) return buyer .. '\t' .. position end
local function past_key_field(buyer, key) return buyer .. '\t\t' .. key end

-- Whether records are too long for a field. Those of earlier versions may be there all the same.
local function is_long(records) return #records > INLINE_BYTES_MAX and string.find(records, '\n', 1, true) ~= nil end

local function is_index(text) return string.sub(text, 1, 1) == '#' end

-- `lists` is the text from the first TAB on, since the fewer texts are made, the less a purchase costs. An ended reservation
-- has no second colon.
local function parse_index(text)
  local units, living, cool_from, at = string.match(text, '^#(%d+) (%d+) (%d+)()\t')
  local middle = at and string.find(text, '\t', at + 1, true)
  if not middle or string.find(text, '\t', middle + 1, true) then error('an index is damaged') end
  return { units = tonumber(units), living = tonumber(living), cool_from = tonumber(cool_from),
    lists = string.sub(text, at) }
end

local function format_index(index)
  return string.format('#%d %d %.0f', index.units, index.living, index.cool_from) .. index.lists
end

-- In a block, because a script has at most 200 local names.
local add_living, add_to_index, change_in_index, index_of_records, keyless_positions
do
local function basket_mark(items) return string.sub(redis.sha1hex(items), 1, 8) end

-- Adds a living reservation, which has the highest position. All but the units are texts.
function add_living(index, position, units, expires, key, items)
  local basket = is_keyless(key) and basket_mark(items) or ''
  index.units, index.living = index.units + units, index.living + 1
  index.lists = index.lists .. ' ' .. position .. ':' .. units .. ':' .. expires .. ':' .. basket
end

-- Positions of the living reservations that a request without a key for these items may repeat.
function keyless_positions(index, items)
  local mark, positions = basket_mark(items), {}
  if not string.find(index.lists, mark, 1, true) then return positions end
  for position in string.gmatch(index.lists, ' (%d+):%d+:%d+:' .. mark) do positions[#positions + 1] = position end
  return positions
end

local function each_ended(index)
  return string.gmatch(string.match(index.lists, '[^\t]*', 2), ' (%d+):(%d*)')
end

local function write_ended(index, ended)
  local texts, first, holds = {}, math.max(1, #ended - ENDED_KEPT + 1), 0
  for i = first, #ended do
    local each = ended[i]
    texts[#texts + 1] = ' ' .. each.position .. ':' .. each.reserved
    if each.reserved ~= '' then holds = holds + 1 end
  end
  index.lists = '\t' .. table.concat(texts) .. string.sub(index.lists, string.find(index.lists, '\t', 2, true), -1)
  index.cool_from = holds == ENDED_KEPT and tonumber(ended[first].reserved) or 0
end

-- What the index has of a record that has ended. A hold that ends has version 2: a reservation that was confirmed,
-- extended or cancelled in parts has more.
local function ended_entry(record)
  return { position = string.format('%.0f', record.position), reserved = record.version == 2 and record.reserved or '' }
end

local function end_in_index(index, record)
  local ended, place = {}, 1
  for position, reserved in each_ended(index) do
    ended[#ended + 1] = { position = position, reserved = reserved }
    if tonumber(position) < record.position then place = #ended + 1 end
  end
  table.insert(ended, place, ended_entry(record))
  write_ended(index, ended)
end

local function is_living(record) return is_living_letter(string.byte(record.status)) end

local function expires_text(record) return record.status == 'C' and '0' or string.format('%.0f', record.expires) end

local function add_parsed(index, record)
  add_living(index, string.format('%.0f', record.position), units_of(record.items), expires_text(record), record.key,
    bought_of(record.items))
end

-- Adds a parsed record, which has the highest position.
function add_to_index(index, record)
  if is_living(record) then add_parsed(index, record) else end_in_index(index, record) end
end

-- A hold that had expired, and is confirmed. The ended list gets no older one in its place.
local function reclaim_in_index(index, position, record)
  local ended = {}
  for own, reserved in each_ended(index) do
    if own ~= position then ended[#ended + 1] = { position = own, reserved = reserved } end
  end
  write_ended(index, ended)
  local behind = ''
  for text, own in string.gmatch(index.lists, '( (%d+):%d+:[^ ]*)') do
    if tonumber(own) > record.position then behind = behind .. text end
  end
  index.lists = string.sub(index.lists, 1, #index.lists - #behind)
  add_parsed(index, record)
  index.lists = index.lists .. behind
end

-- `record` is the parsed next version of a reservation.
function change_in_index(index, record)
  local position = string.format('%.0f', record.position)
  local from, upto, units, basket = string.find(index.lists, ' ' .. position .. ':(%d+):%d+:(%x*)')
  if not from then return reclaim_in_index(index, position, record) end
  local before, behind = string.sub(index.lists, 1, from - 1), string.sub(index.lists, upto + 1)
  if is_living(record) then
    local left = units_of(record.items)
    index.units = index.units - units + left
    index.lists = string.format('%s %s:%d:%s:%s%s', before, position, left, expires_text(record), basket, behind)
    return
  end
  index.units, index.living, index.lists = index.units - units, index.living - 1, before .. behind
  end_in_index(index, record)
end

-- The index of these records, and the records, parsed.
function index_of_records(text)
  local index = { units = 0, living = 0, cool_from = 0, lists = '\t\t' }
  local records, ended = {}, {}
  for each in each_record(text) do
    local record = parse_record(each)
    if not record.version then error('a record is damaged') end
    records[#records + 1] = record
    if is_living(record) then add_parsed(index, record) else ended[#ended + 1] = ended_entry(record) end
  end
  write_ended(index, ended)
  return index, records
end
end

-- The fields of `past` with the records that the index names: of ended ones, then of living ones.
local function record_fields_of(index, buyer)
  local fields, count = {}, 0
  for position in string.gmatch(index.lists, ' (%d+):') do
    count = count + 1
    fields[count] = past_record_field(buyer, position)
  end
  return fields
end
