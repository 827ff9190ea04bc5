#!lua flags=no-writes
-- Reads a part of the buyers who got reservations in a sale, in the order of decision.
--
-- KEYS   sale order
-- ARGV   fence skip most
-- REPLY  {unknown_sale} or {recovering} or {known, timeline, {buyer, …}}: at most `most` buyers after the first `skip`

local sale = redis.call('HMGET', key_sale, 'fence', 'timeline')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= arg_fence then return { 'recovering' } end
return { 'known', tonumber(sale[2] or 0), redis.call('LRANGE', key_order, arg_skip, arg_skip + arg_most - 1) }
