#!lua
-- Moves one reservation to another state, once, however often it is asked.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence position tag buyer from to detail trace newTag
--        buyer  whose it must be, or empty: anybody's; from  the letters it may come from; to  the letter it goes to;
--        trace  requestId TAB traceparent; newTag  for whoever is served next
-- REPLY  {word, record, buyer, currency}: changed, repeated (it was there already), forbidden (it is elsewhere)
--        or {unknown_reservation} {unknown_sale} {recovering}
--
-- What a reservation gives back goes to those who wait, in this same step. The table of moves: domain/reservation.ts.

--@include parts/changes.lua
--@include parts/transitions.lua
--@include parts/waitlist.lua

if refused then return { refused } end
local position, tag, owner, from, to = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local buyer = redis.call('LINDEX', KEYS[4], order_index(position))
if not buyer or (owner ~= '' and owner ~= buyer) then return { 'unknown_reservation' } end
load_records({ buyer })
local found = nil
for text in string.gmatch(records_of[buyer], '[^\n]+') do
  local record = parse_record(text)
  if record.position == position and record.tag == tag then found = record end
end
if not found then return { 'unknown_reservation' } end
if found.status == to then return { 'repeated', found.text, buyer, sale.currency } end
if not string.find(from, found.status, 1, true) then return { 'forbidden', found.text, buyer, sale.currency } end

local basket, skus = basket_of(found.items), {}
for i, line in ipairs(basket) do skus[i] = line.sku end
load_stock(skus)

local count_of = { R = 'held', P = 'held', C = 'confirmed', X = 'remaining', E = 'remaining' }
local left, reached = count_of[found.status], count_of[to]
if left ~= reached then
  for _, line in ipairs(basket) do
    add_stock(line.sku, left, -line.quantity)
    add_stock(line.sku, reached, line.quantity)
  end
end
local expires = found.expires
if to == 'P' then
  -- As long again as holds last.
  expires = math.max(expires, now) + sale.hold_ms
  new_holds = { number(expires), number(position) .. '-' .. number(position) }
end
local record = succeed(buyer, found, to, expires, ARGV[7], ARGV[8])
local records = {}
for text in string.gmatch(records_of[buyer], '[^\n]+') do
  records[#records + 1] = text == found.text and record or text
end
records_of[buyer] = concat(records, '\n')
if reached == 'remaining' then serve_line(skus, ARGV[9]) end
write_changes()
return { 'changed', record, buyer, sale.currency }
