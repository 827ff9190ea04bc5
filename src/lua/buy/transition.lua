#!lua
-- Changes the status of one reservation, once, however often the request is repeated.
--
-- KEYS   sale stock buyers past order holds events line lineByQuantity waiting
-- ARGV   fence position tag buyer from to detail trace newTag payment restock
--        buyer  who must own it; empty: any buyer. from  status letters that allow the transition; to  the new letter;
--        trace  requestId TAB traceparent; newTag  of the reservations that the waitlist gets
--        payment  of a confirmation, percent-encoded; empty: none. restock  of a cancellation: 1, or 0 if the units leave
--        the sale; empty: as 1, and a repetition however it was cancelled before
-- REPLY  {word, record, buyer, currency}: changed, repeated (it had that status), forbidden (it has another status)
--        or the same with: unpaid (it is confirmed without a payment; `attach` adds one), unrecorded (an earlier version
--        confirmed it, and only PostgreSQL knows the payment), conflict (it has another payment, the fifth value)
--        or, if it has expired and is not reclaimed: sold_out, insufficient_stock (the fifth value has the available units
--        of each item, as n,…), limit_reached (the limit, what it still allows, and whose it is: a SKU's, or empty)
--        or {holds_due}: it is past its deadline, and no sweep has ended it. End it by sweep.lua, then ask again.
--        or {unknown_reservation} {unknown_sale} {recovering} {sale_ended} (it is archived)
--
-- The same step gives returned units to the waitlist. The table of transitions is in domain/reservation.ts.

--@include time sale stock record buyer-index merchant-note cool-down buyers limits changes available waitlist-member waitlist-changes waitlist

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
if found.status == arg_to then
  -- The units are already where the other cancellation put them.
  if arg_restock ~= '' and notes.is_withdrawn(note) ~= (arg_restock == '0') then return reply('forbidden') end
  local recorded, attaches = notes.payment_in(note), arg_from == arg_to
  if arg_to ~= 'C' or arg_payment == '' or arg_payment == recorded then return reply('repeated') end
  if recorded and recorded ~= '' then return reply('conflict', recorded) end
  if not attaches then return reply(recorded and 'unpaid' or 'unrecorded') end
elseif not string.find(arg_from, found.status, 1, true) then
  return reply('forbidden')
end

local basket = basket_of(left_of(found.items))
load_stock(basket.skus)

local withdraws = arg_restock == '0'
local count_of = { R = 'held', P = 'held', C = 'confirmed', X = 'remaining', E = 'remaining' }
local count_before, count_after = count_of[found.status], count_of[arg_to]
-- The units of an expired hold are like those that any buyer could get now, and count against the limit again.
local is_reclaimed = count_before == 'remaining'
if is_reclaimed then
  local known, available, words = summary_of_buyer(buyer), {}, {}
  local function refuse(word, ...)
    if holds_are_due() then return { 'holds_due' } end
    return reply(word, ...)
  end
  local limit, left, limited = limit_above(basket, known)
  if limit then return refuse('limit_reached', number(limit), number(left), limited) end
  for i, sku in ipairs(basket.skus) do
    local units = available_of(sku)
    available[i] = number(units)
    if units <= 0 then words.sold_out = true elseif units < basket.quantities[i] then words.is_short = true end
  end
  if words.sold_out then return refuse('sold_out', concat(available, ',')) end
  if words.is_short then return refuse('insufficient_stock', concat(available, ',')) end
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
local record = change_status(buyer, found, arg_to, expires, arg_detail, arg_trace)
if count_after == 'remaining' and not withdraws then serve_waitlist(basket.skus, arg_new_tag) end
check_keys()
write_waitlist()
-- Where an earlier version may have left it; replace_record has another field.
if is_reclaimed then call('HDEL', key_past, older_past_field(buyer, arg_position)) end
if arg_to == 'C' then call('HSET', key_past, notes.field(arg_position), notes.with_payment(note, arg_payment)) end
if withdraws then
  call('HSET', key_past, notes.field(arg_position), notes.withdrawn(note))
  -- A persister that knows only version 1 would not write the units to the stock ledger.
  format_version = '2'
end
write_changes()
return { 'changed', record, buyer, sale.currency }
