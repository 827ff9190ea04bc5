#!lua
-- Adds a buyer to the waitlist of a SKU of which the buyer cannot get that quantity now.
--
-- KEYS   sale stock buyers past order holds events line lineByQuantity waiting
-- ARGV   fence buyer sku quantity
-- REPLY  {word, rank, quantity}: joined, already (with the rank)
--        {insufficient_stock, units that can be bought, 0} (the sale never had that many)
--        {limit_reached, limit, units that it still allows, 1 if it is the SKU's limit, else 0}
--        {too_many_holds, end of the cool-down in ms, 0}, see parts/cool-down.lua
--        or with 0 and 0: available unknown_sku sale_not_started sale_paused sale_ended unknown_sale recovering

--@include time sale stock record buyer-index cool-down buyers limits changes available waitlist-member waitlist-changes

if refused then return { refused, 0, 0 } end
local quantity = tonumber(arg_quantity)

local present = call('HGET', key_waiting, waiting_field(arg_buyer, arg_sku))
if present then return { 'already', rank_of(arg_sku, present), parse_member(present).quantity } end
if closed then return { closed, 0, 0 } end
load_stock({ arg_sku })
load_records({ arg_buyer })
local counts = stock[arg_sku]
if not counts.remaining then return { 'unknown_sku', 0, 0 } end
local available = available_of(arg_sku)
if quantity <= available then return { 'available', 0, 0 } end
if quantity > tonumber(call('HGET', key_stock, arg_sku .. ':loaded')) then
  return { 'insufficient_stock', available, 0 }
end

-- Units that the buyer waits for elsewhere in this sale count too.
local waits = 0
for _, each in ipairs(cjson.decode(call('HGET', key_sale, 'skus'))) do
  local member = call('HGET', key_waiting, waiting_field(arg_buyer, each.sku))
  if member then waits = waits + parse_member(member).quantity end
end
local known = summary_of_buyer(arg_buyer)
local allowed, own = allowance_of(known) - waits, sku_allowance_of(known, arg_sku)
if own and quantity > own then
  return { 'limit_reached', counts.limit, math.max(0, math.min(own, allowed)), 1 }
end
if quantity > allowed then return { 'limit_reached', sale.limit, math.max(0, allowed), 0 } end
local until_ms = cool_down_end(known.cool_from)
if until_ms then return { 'too_many_holds', until_ms, 0 } end

sale.tickets = sale.tickets + 1
local waiter = new_waiter(arg_sku, sale.tickets, arg_buyer, quantity)
join_waitlist(waiter)
write_waitlist()
write_changes()
return { 'joined', rank_of(arg_sku, waiter.member), quantity }
