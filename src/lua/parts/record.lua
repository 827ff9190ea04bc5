-- The text formats of a reservation: its record and its event line. No other script or part knows the fields; the
-- counterpart in TypeScript is domain/reservation-codec.ts, which documents them.
--
-- EXPORTS  NO_TRACE each_record join_records record_tail new_record next_record parse_record is_overdue
--          status_and_position has_items items_of left_of bought_of units_of is_sent is_keyless is_living_letter summary_of record_by_key add_event_line

local find, byte, sub, match = string.find, string.byte, string.sub, string.match

-- The trace of an event that no request caused: neither request id nor traceparent.
local NO_TRACE = '\t'

local function each_record(records) return string.gmatch(records, '[^\n]+') end

local function join_records(records) return table.concat(records, '\n') end

-- The fields between items and key, which a batch's records for the same basket share. Not with the items: Lua reads each
-- byte of a text that it makes, which for long baskets is most of a purchase's time.
local function record_tail(prices, reserved, expires)
  return '\t' .. prices .. '\t' .. reserved .. '\t' .. expires .. '\t'
end

local function new_record(position, tag, items, tail, key)
  return '1\tR\t' .. position .. '\t' .. tag .. '\t' .. items .. tail .. key
end

-- Without a version if the record is damaged. No pattern for items and prices: it would look at every byte on its own.
local function parse_record(text)
  local version, status, position, tag, at = match(text, '^(%d+)\t(%a)\t(%d+)\t(%w+)\t()')
  local behind_items = at and find(text, '\t', at, true)
  local behind_prices = behind_items and find(text, '\t', behind_items + 1, true)
  if not behind_prices then return { text = text } end
  local reserved, expires, key = match(text, '^(%d+)\t(%d+)\t([^\t]*)$', behind_prices + 1)
  if not reserved then return { text = text } end
  return { text = text, version = tonumber(version), status = status, position = tonumber(position), tag = tag,
    items = sub(text, at, behind_items - 1), prices = sub(text, behind_items + 1, behind_prices - 1),
    reserved = reserved, expires = tonumber(expires), key = key }
end

local function status_and_position(text) return match(text, '^%d+\t(%a)\t(%d+)') end

-- The start of a field of the record that begins at `at`; fields count from 0.
local function field_start(text, at, field)
  for _ = 1, field do at = find(text, '\t', at, true) + 1 end
  return at
end

local function items_of(text) return match(text, '^%d+\t%a\t%d+\t%w+\t([^\t]*)') end

-- An item of which a part was cancelled is sku*left/bought. The items that are left, or as they were bought.
local function left_of(items)
  if not find(items, '/', 1, true) then return items end
  local left = {}
  for item, units in string.gmatch(items, '([^*/,]+%*(%d+))') do
    if units ~= '0' then left[#left + 1] = item end
  end
  return table.concat(left, ',')
end
local function bought_of(items) return (string.gsub(items, '%*%d+/', '*')) end

local R, P, C, TAB = byte('R'), byte('P'), byte('C'), byte('\t')

-- Whether the reservation was made for these items.
local function has_items(text, items)
  local from = field_start(text, 1, 4)
  if find(text, items, from, true) == from and byte(text, from + #items) == TAB then return true end
  return bought_of(items_of(text)) == items
end

-- The letters of living reservations, see domain/reservation.ts.
local function is_living_letter(letter) return letter == R or letter == P or letter == C end

-- Those that are left.
local function units_of(items)
  local units, at = 0, find(items, '*', 1, true)
  while at do
    units = units + match(items, '^%d+', at + 1)
    at = find(items, '*', at + 1, true)
  end
  return units
end

-- A hold that is past its deadline, and that no sweep has ended.
local function is_overdue(text, now)
  -- A pattern would look at every byte.
  local tab = find(text, '\t', 1, true)
  local letter = tab and byte(text, tab + 1)
  if letter ~= R and letter ~= P then return false end
  return tonumber(match(text, '^%d+', field_start(text, tab + 1, 6))) <= now
end

-- The waitlist's key has a space, so nobody can send it.
local function is_sent(key) return key ~= '' and not find(key, ' ', 1, true) end

-- Whether a request without a key repeats a living reservation with this key.
local function is_keyless(key) return not is_sent(key) end

-- What limits and requests without a key depend on, in one pass that makes no text of an ended record: this runs for each
-- buyer of a batch who has a few records.
--   units, living   units and number of living reservations
--   held            items of each living reservation that are left
--   cool_from       0: a few records begin no cool-down
--   keyless         items -> the first living record that a request without a key for these items repeats
local function summary_of(records)
  local units, living, held, keyless = 0, 0, {}, {}
  local size, at = #records, 1
  while at <= size do
    local tab = find(records, '\t', at, true)
    local last = (find(records, '\n', tab, true) or size + 1) - 1
    if is_living_letter(byte(records, tab + 1)) then
      living = living + 1
      local first = field_start(records, tab + 1, 3)
      local prices = field_start(records, first, 1)
      local items = sub(records, first, prices - 2)
      units, held[living] = units + units_of(items), items
      if find(items, '/', 1, true) then held[living], items = left_of(items), bought_of(items) end
      if not keyless[items] and is_keyless(sub(records, field_start(records, prices, 3), last)) then
        keyless[items] = sub(records, at, last)
      end
    end
    at = last + 2
  end
  return { units = units, living = living, held = held, cool_from = 0, keyless = keyless }
end

-- The first record with a key that is not empty; nil: there is none.
local function record_by_key(records, key)
  local ending = '\t' .. key
  local at = find(records, ending .. '\n', 1, true)
  if not at and sub(records, -#ending) ~= ending then return nil end
  at = at or #records - #ending + 1
  local start = 1
  while true do
    local stop = find(records, '\n', start, true) or #records + 1
    if stop > at then return sub(records, start, stop - 1) end
    start = stop + 1
  end
end

-- The next version of a parsed record.
local function next_record(old, status, expires)
  return string.format('%.0f\t%s\t%.0f\t%s\t%s\t%s\t%s\t%.0f\t%s', old.version + 1, status, old.position, old.tag,
    old.items, old.prices, old.reserved, expires, old.key)
end

-- Adds an event line in pieces: see record_tail(). `trace` is requestId TAB traceparent. lines.size counts the pieces.
local function add_event_line(lines, record, buyer, occurred, detail, trace)
  local at = lines.size
  lines[at + 1], lines[at + 2], lines[at + 3] = at > 0 and '\n' or '', record, '\t'
  lines[at + 4], lines[at + 5], lines[at + 6] = buyer, '\t' .. occurred .. '\t' .. detail .. '\t', trace
  lines.size, lines.count = at + 6, lines.count + 1
end
