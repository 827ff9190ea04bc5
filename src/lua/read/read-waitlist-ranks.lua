#!lua flags=no-writes
-- Reads the ranks of many buyers on the waitlists of a sale.
--
-- KEYS   sale line waiting
-- ARGV   fence ...fields
--        fields  of `waiting`: buyer TAB sku
-- REPLY  {unknown_sale} or {recovering} or {known, {quantity, rank, …}} in the order of the fields; 0 and 0 for a buyer
--        who is not on the waitlist, and for all once the sale has ended
--
-- Costs one field for each buyer and a logarithm for each buyer on a waitlist, so the caller limits their number.

--@include time waitlist-member

local sale = redis.call('HMGET', key_sale, 'fence', 'status', 'endsAt', 'time', 'ahead')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= arg_fence then return { 'recovering' } end
set_time(sale[4], sale[5])

local is_over, ranks = has_ended(sale[2], sale[3] or ''), {}
for i, member in ipairs(redis.call('HMGET', key_waiting, unpack(arg_fields))) do
  local waiter = member and not is_over and parse_member(member)
  ranks[2 * i - 1] = waiter and waiter.quantity or 0
  ranks[2 * i] = waiter and rank_of(waiter.sku, member) or 0
end
return { 'known', ranks }
