#!lua
-- Adds a buyer to the waitlist of a SKU of which the buyer cannot get that quantity now.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting
-- ARGV   fence buyer sku quantity
-- REPLY  {word, rank, quantity}: joined, already (the buyer waits for that quantity), waiting (for another quantity, which
--        stays as it is); with what is stored now
--        {limit_reached, limit, units that it still allows, 1 if it is the SKU's limit, else 0, {sku, quantity, rank, …} of
--        what the buyer waits for, which counts against the sale's limit}
--        {too_many_holds, end of the cool-down in ms, 0}, see parts/cool-down.lua
--        or with 0 and 0: available unknown_sku sale_not_started sale_paused sale_ended unknown_sale recovering
--
-- Units may be loaded later. So only a limit makes a quantity impossible, not the units that are loaded now.

--@include time sale stock record short-record buyer-index cool-down buyers limits changes available waitlist-member waits waitlist-changes

if refused then return { refused, 0, 0 } end
-- Nobody is served any more.
if closed == 'sale_ended' then return { closed, 0, 0 } end
local quantity = tonumber(arg_quantity)

local present = call('HGET', key_waiting, waiting_field(arg_buyer, arg_sku))
if present then
  local stored = parse_member(present).quantity
  return { stored == quantity and 'already' or 'waiting', rank_of(arg_sku, present), stored }
end
if closed then return { closed, 0, 0 } end
load_stock({ arg_sku })
load_records({ arg_buyer })
local counts = stock[arg_sku]
if not counts.remaining then return { 'unknown_sku', 0, 0 } end
if quantity <= available_of(arg_sku) then return { 'available', 0, 0 } end

local waits, waiting = 0, waits_of(arg_buyer, call('HGET', key_sale, 'skus'))
for i = 2, #waiting, 3 do waits = waits + waiting[i] end
local known = summary_of_buyer(arg_buyer)
local allowed, own = allowance_of(known) - waits, sku_allowance_of(known, arg_sku)
if own and quantity > own then
  return { 'limit_reached', counts.limit, math.max(0, math.min(own, allowed)), 1, waiting }
end
if quantity > allowed then return { 'limit_reached', sale.limit, math.max(0, allowed), 0, waiting } end
local until_ms = cool_down_end(known.cool_from)
if until_ms then return { 'too_many_holds', until_ms, 0 } end

sale.tickets = sale.tickets + 1
local waiter = new_waiter(arg_sku, sale.tickets, arg_buyer, quantity)
join_waitlist(waiter)
write_waitlist()
write_changes()
return { 'joined', rank_of(arg_sku, waiter.member), quantity }
