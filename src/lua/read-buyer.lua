#!lua flags=no-writes
-- Reads what one buyer has in a sale.
--
-- KEYS   sale buyers
-- ARGV   fence buyer
-- REPLY  {unknown_sale} or {recovering} or {known, limit per buyer, currency, records separated by LF}

local sale = redis.call('HMGET', KEYS[1], 'fence', 'perBuyerLimit', 'currency')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= ARGV[1] then return { 'recovering' } end
return { 'known', tonumber(sale[2]), sale[3], redis.call('HGET', KEYS[2], ARGV[2]) or '' }
