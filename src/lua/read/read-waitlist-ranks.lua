#!lua flags=no-writes
-- Reads the ranks of many buyers on the waitlists of a sale.
--
-- KEYS   sale line waiting
-- ARGV   fence ...fields
--        fields  of `waiting`: buyer TAB sku
-- REPLY  {unknown_sale} or {recovering} or {known, {quantity, rank, …}} in the order of the fields; 0 and 0 for a buyer
--        who is not on the waitlist
--
-- Costs one field for each buyer and a logarithm for each buyer on a waitlist, so the caller limits their number.

--@include waitlist-member

local fence = redis.call('HGET', key_sale, 'fence')
if not fence then return { 'unknown_sale' } end
if fence ~= arg_fence then return { 'recovering' } end

local ranks = {}
for i, member in ipairs(redis.call('HMGET', key_waiting, unpack(arg_fields))) do
  local waiter = member and parse_member(member)
  ranks[2 * i - 1] = waiter and waiter.quantity or 0
  ranks[2 * i] = waiter and rank_of(waiter.sku, member) or 0
end
return { 'known', ranks }
