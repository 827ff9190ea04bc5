#!lua
-- Changes the status of one reservation, once, however often the request is repeated.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting
-- ARGV   fence position tag buyer from to detail trace newTag payment restock part key
--        buyer  who must own it; empty: any buyer. from  status letters that allow the transition; to  the new letter;
--        trace  requestId TAB traceparent; newTag  of the reservations that the waitlist gets
--        payment  of a confirmation, percent-encoded; empty: none. restock  of a cancellation: 1, or 0 if the units leave
--        the sale; empty: as 1, and a repetition however it was cancelled before. part  of a cancellation: the items
--        that are cancelled, as sku*quantity,…; empty: all that are left. key  of a cancellation with a part, or empty
-- REPLY  {word, record, buyer, currency}: changed, repeated (it had that status), forbidden (it has another status)
--        or the same with: unpaid (it is confirmed without a payment; `attach` adds one), unrecorded (an earlier version
--        confirmed it, and only PostgreSQL knows the payment), conflict (it has another payment, the fifth value)
--        or, if it has expired and is not reclaimed: sold_out, insufficient_stock (the fifth value has the available units
--        of each item, as n,…), limit_reached (the limit, what it still allows, and whose it is: a SKU's, or empty)
--        or, if it names a part: beyond (the reservation has fewer units), key_reused (by another request)
--        or {holds_due}: it is past its deadline, and no sweep has ended it. End it by sweep.lua, then ask again.
--        or {unknown_reservation} {unknown_sale} {recovering} {sale_ended} (it is archived)
--
-- The same step gives returned units to the waitlist. The table of transitions is in domain/reservation.ts.

--@include time sale stock record short-record buyer-index merchant-note cool-down buyers limits changes available reclaim waitlist-member waitlist-changes waitlist

if refused then return { refused } end
local position = tonumber(arg_position)

local buyer = call('LINDEX', key_order, order_index(position))
if not buyer or (arg_buyer ~= '' and arg_buyer ~= buyer) then return { 'unknown_reservation' } end
load_records({ buyer })
local found = records_at(buyer, { arg_position })[1]
found = found and parse_record(found)
if not found or found.tag ~= arg_tag then return { 'unknown_reservation' } end
if is_overdue(found.text, now) then return { 'holds_due' } end
local function reply(word, ...) return { word, found.text, buyer, sale.currency, ... } end
local note = call('HGET', key_past, notes.field(arg_position)) or nil
local has_part = arg_part ~= ''
if has_part or arg_key ~= '' then
  local earlier = notes.earlier_part(note, arg_part, arg_restock, arg_key)
  if earlier then return reply(earlier) end
end
if found.status == arg_to and not has_part then
  -- The units are already where the other cancellation put them.
  if arg_restock ~= '' and notes.is_withdrawn(note) ~= (arg_restock == '0') then return reply('forbidden') end
  local recorded, attaches = notes.payment_in(note), arg_from == arg_to
  if arg_to ~= 'C' or arg_payment == '' or arg_payment == recorded then return reply('repeated') end
  if recorded and recorded ~= '' then return reply('conflict', recorded) end
  if not attaches then return reply(recorded and 'unpaid' or 'unrecorded') end
elseif not string.find(arg_from, found.status, 1, true) then
  return reply('forbidden')
end

-- What the record has after a part was cancelled; false: no part, or nothing would be left.
local kept = has_part and notes.without_part(found.items, arg_part)
if kept == nil then return reply('beyond') end
local basket = basket_of(has_part and arg_part or left_of(found.items))
load_stock(basket.skus)

local withdraws = arg_restock == '0'
local count_of = { R = 'held', P = 'held', C = 'confirmed', X = 'remaining', E = 'remaining' }
local count_before, count_after = count_of[found.status], count_of[arg_to]
local is_reclaimed = count_before == 'remaining'
if is_reclaimed then
  local refusal = { refusal_of_reclaim(buyer, basket) }
  if refusal[1] == 'holds_due' then return refusal end
  if refusal[1] then return reply(unpack(refusal)) end
end
if withdraws then
  for i, sku in ipairs(basket.skus) do
    add_stock(sku, count_before, -basket.quantities[i])
    add_stock(sku, 'loaded', -basket.quantities[i])
  end
elseif count_before ~= count_after then
  move_stock(basket, count_before, count_after, 1)
end
local expires = found.expires
if arg_to == 'P' then
  expires = math.max(expires, now) + sale.hold_ms
  new_holds[1], new_holds[2] = number(expires), number(position) .. '-' .. number(position)
end
found.items = kept or found.items
local record = change_status(buyer, found, kept and found.status or arg_to, expires, arg_detail, arg_trace)
if count_after == 'remaining' and not withdraws then serve_waitlist(basket.skus, arg_new_tag) end
check_keys()
write_waitlist()
-- Where an earlier version may have left it; replace_record has another field.
if is_reclaimed then call('HDEL', key_past, older_past_field(buyer, arg_position)) end
local new_note = arg_to == 'C' and notes.with_payment(note, arg_payment) or note
if has_part then new_note = notes.with_part(new_note, arg_part, arg_restock, arg_key) end
if withdraws and not kept then new_note = notes.withdrawn(new_note) end
if new_note ~= note then call('HSET', key_past, notes.field(arg_position), new_note) end
-- A persister that knows only version 1 would not write the units to the stock ledger.
if withdraws and format_version == '1' then format_version = '2' end
write_changes()
return { 'changed', record, buyer, sale.currency }
