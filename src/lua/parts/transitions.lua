-- Taking a record apart, and moving it to another state. After parts/changes.lua.

local RECORD = '^(%d+)\t(%a)\t(%d+)\t(%w+)\t([^\t]*)\t([^\t]*)\t(%d+)\t(%d+)\t([^\t]*)$'
local function parse_record(text)
  local version, status, position, tag, items, prices, reserved, expires, key = string.match(text, RECORD)
  return { text = text, version = tonumber(version), status = status, position = tonumber(position), tag = tag,
    items = items, prices = prices, reserved = reserved, expires = tonumber(expires), key = key }
end

-- The next state of a record, with its line of history. It has yet to be put in the place of the old one.
local function succeed(buyer, old, status, expires, detail, trace)
  local record = format('%.0f\t%s\t%.0f\t%s\t%s\t%s\t%s\t%.0f\t%s', old.version + 1, status, old.position, old.tag,
    old.items, old.prices, old.reserved, expires, old.key)
  changed_buyers[buyer] = true
  emit(record, buyer, detail, trace)
  return record
end
