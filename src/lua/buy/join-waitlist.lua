#!lua
-- Puts a buyer in the line for a SKU that is sold out.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence buyer sku quantity
-- REPLY  {word, place, quantity}: joined, already (with the place), or with 0 and 0
--        available insufficient_stock (the sale never had so many) unknown_sku limit_reached sale_not_started sale_paused sale_ended unknown_sale recovering

--@include parts/changes.lua
--@include parts/waitlist.lua

local buyer, sku, quantity = ARGV[2], ARGV[3], tonumber(ARGV[4])
if refused then return { refused, 0, 0 } end

local function place_of(member)
  return redis.call('ZLEXCOUNT', KEYS[7], '[' .. sku .. '\t', '[' .. member)
end
local present = redis.call('HGET', KEYS[8], buyer .. '\t' .. sku)
if present then return { 'already', place_of(present), parse_place(present).quantity } end
if closed then return { closed, 0, 0 } end
load_stock({ sku })
load_records({ buyer })
local counts = stock[sku]
if not counts.remaining then return { 'unknown_sku', 0, 0 } end
-- Whoever could wait for more than there is would keep what there is from everybody.
if counts.waiting == 0 and counts.remaining > 0 then return { 'available', 0, 0 } end
if quantity > tonumber(redis.call('HGET', KEYS[2], sku .. ':loaded')) then return { 'insufficient_stock', 0, 0 } end

-- What the buyer waits for elsewhere in this sale counts too.
local waits = 0
for _, counts_sku in ipairs(cjson.decode(redis.call('HGET', KEYS[1], 'skus'))) do
  local member = redis.call('HGET', KEYS[8], buyer .. '\t' .. counts_sku.sku)
  if member then waits = waits + parse_place(member).quantity end
end
local units, ended = units_of(buyer)
if units + waits + quantity > sale.limit or ended >= RESERVATIONS_MAX then return { 'limit_reached', 0, 0 } end

sale.tickets = sale.tickets + 1
local member = sku .. '\t' .. string.format('%012.0f', sale.tickets) .. '\t' .. buyer .. '\t' .. number(quantity)
came_waiting[1] = { member = member, field = buyer .. '\t' .. sku }
add_stock(sku, 'waiting', 1)
write_changes()
return { 'joined', place_of(member), quantity }
