#!lua flags=no-writes
-- Reads a buyer's reservations in a sale, and the buyer's ranks on its waitlists.
--
-- KEYS   sale buyers past terms line waiting
-- ARGV   fence buyer position
--        position  of a reservation to read also if it ended long ago; 0: none
-- REPLY  {unknown_sale} or {recovering} or {sale_ended} (it is archived)
--        or {known, limit per buyer, currency, {records or null, …} in any order, {sku, quantity, rank, …}, end of the cool-down in ms or 0,
--        JSON of the SKUs, or an empty text if none has a limit of its own, now in ms}

--@include time waitlist-member waits record short-record buyer-index cool-down

local sale = redis.call('HMGET', key_sale, 'fence', 'perBuyerLimit', 'currency', 'skus', 'status', 'time', 'ahead',
  'endsAt')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= arg_fence then return { sale[5] == 'archived' and 'sale_ended' or 'recovering' } end
set_time(sale[6], sale[7])

-- Once the sale has ended, nobody is served any more.
local is_waiting = not has_ended(sale[5], sale[8] or '') and redis.call('EXISTS', key_waiting) == 1
local waits = is_waiting and waits_of(arg_buyer, sale[4]) or {}

local field = redis.call('HGET', key_buyers, arg_buyer) or ''
local records, cool_from = {}, 0
if short.is(field) then
  short.load_terms({ field })
  records[1] = short.expand(field)
elseif is_index(field) then
  local index = parse_index(field)
  local fields = record_fields_of(index, arg_buyer)
  if #fields > 0 then records = redis.call('HMGET', key_past, unpack(fields)) end
  cool_from = index.cool_from
else
  records[1] = field
  if is_long(field) then
    -- The field may be one of an earlier version, with many records.
    local is_read, index = pcall(index_of_records, field)
    if is_read then cool_from = index.cool_from end
  end
end
if arg_position ~= '0' then
  local past = redis.call('HMGET', key_past, past_record_field(arg_buyer, arg_position),
    older_past_field(arg_buyer, arg_position))
  records[#records + 1] = past[1] or past[2]
end
local skus = string.find(sale[4], '"perBuyerLimit":', 1, true) and sale[4] or ''
return { 'known', tonumber(sale[2]), sale[3], records, waits, cool_down_end(cool_from) or 0, skus, now }
