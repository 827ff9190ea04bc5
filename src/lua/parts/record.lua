-- The text formats of a reservation: its record and its event line. No other script or part knows the fields; the
-- counterpart in TypeScript is domain/reservation-codec.ts, which documents them.
--
-- EXPORTS  NO_TRACE each_record join_records add_record record_terms new_record next_record parse_record limits_and_key_of
--          status_and_position event_line

-- The trace of an event that no request caused: neither request id nor traceparent.
local NO_TRACE = '\t'

local function each_record(records) return string.gmatch(records, '[^\n]+') end

local function join_records(records) return table.concat(records, '\n') end

local function add_record(records, record) return records == '' and record or (records .. '\n' .. record) end

-- The fields between position and key, which a batch's records for the same basket share.
local function record_terms(tag, items, prices, reserved, expires)
  return '\t' .. tag .. '\t' .. items .. '\t' .. prices .. '\t' .. reserved .. '\t' .. expires .. '\t'
end

local function new_record(position, terms, key) return '1\tR\t' .. position .. terms .. key end

local function parse_record(text)
  local version, status, position, tag, items, prices, reserved, expires, key =
    string.match(text, '^(%d+)\t(%a)\t(%d+)\t(%w+)\t([^\t]*)\t([^\t]*)\t(%d+)\t(%d+)\t([^\t]*)$')
  return { text = text, version = tonumber(version), status = status, position = tonumber(position), tag = tag,
    items = items, prices = prices, reserved = reserved, expires = tonumber(expires), key = key }
end

-- The fields that limits and repeated requests depend on: status, items, expires, key. Makes no table.
local function limits_and_key_of(text)
  return string.match(text, '^%d+\t(%a)\t%d+\t%w+\t([^\t]*)\t[^\t]*\t%d+\t(%d+)\t([^\t]*)$')
end

local function status_and_position(text) return string.match(text, '^%d+\t(%a)\t(%d+)') end

-- The next version of a parsed record.
local function next_record(old, status, expires)
  return string.format('%.0f\t%s\t%.0f\t%s\t%s\t%s\t%s\t%.0f\t%s', old.version + 1, status, old.position, old.tag,
    old.items, old.prices, old.reserved, expires, old.key)
end

-- `trace` is requestId TAB traceparent.
local function event_line(record, buyer, occurred, detail, trace)
  return record .. '\t' .. buyer .. '\t' .. occurred .. '\t' .. detail .. '\t' .. trace
end
