#!lua flags=no-writes
-- Reads a part of the list of those who got something in a sale, in the order of decision.
--
-- KEYS   sale order
-- ARGV   fence skip most
-- REPLY  {unknown_sale} or {recovering} or {known, timeline, {buyer, …}}: at most so many, after so many

local sale = redis.call('HMGET', KEYS[1], 'fence', 'timeline')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= ARGV[1] then return { 'recovering' } end
return { 'known', tonumber(sale[2] or 0), redis.call('LRANGE', KEYS[2], ARGV[2], ARGV[2] + ARGV[3] - 1) }
