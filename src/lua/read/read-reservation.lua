#!lua flags=no-writes
-- Reads a reservation of any buyer, and its events in a part of the stream.
--
-- KEYS   sale buyers past terms order events
-- ARGV   fence index position tag after most
--        index  of the position in the order, from 0; after  the stream entry after which events are read; most  entries
-- REPLY  {unknown_sale} or {recovering} or {sale_ended} (it is archived) or {unknown_reservation}
--        or {known, buyer, currency, record, {number, event line, …}, the last entry read; empty: there are no more}

--@include record short-record buyer-index

local sale = redis.call('HMGET', key_sale, 'fence', 'currency', 'status')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= arg_fence then return { sale[3] == 'archived' and 'sale_ended' or 'recovering' } end

local buyer = redis.call('LINDEX', key_order, arg_index)
if not buyer then return { 'unknown_reservation' } end
local record, field = nil, redis.call('HGET', key_buyers, buyer) or ''
if short.is(field) then
  short.load_terms({ field })
  field = short.expand(field)
end
for text in each_record(field) do
  local _, position = status_and_position(text)
  if position == arg_position then record = text end
end
record = record or redis.call('HGET', key_past, past_record_field(buyer, arg_position))
  or redis.call('HGET', key_past, older_past_field(buyer, arg_position))
local address = '\t' .. arg_position .. '\t' .. arg_tag .. '\t'
if not record or not string.find(record, address, 1, true) then return { 'unknown_reservation' } end

local entries = redis.call('XRANGE', key_events, '(' .. arg_after, '+', 'COUNT', arg_most)
local lines = {}
for _, entry in ipairs(entries) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  local number = tonumber(fields.s)
  for _, found in ipairs(number and short.event_lines_of(fields.d or '', arg_position, arg_tag) or {}) do
    lines[#lines + 1] = string.format('%.0f', number + found.index)
    lines[#lines + 1] = found.line
  end
end
local last = entries[#entries]
return { 'known', buyer, sale[2], record, lines, #entries == tonumber(arg_most) and last[1] or '' }
