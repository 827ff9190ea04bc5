#!lua flags=no-writes
-- Reads what one buyer has in a sale, and where the buyer waits.
--
-- KEYS   sale buyers line waiting
-- ARGV   fence buyer
-- REPLY  {unknown_sale} or {recovering}
--        or {known, limit per buyer, currency, records separated by LF, {sku, quantity, place, …}}

local sale = redis.call('HMGET', KEYS[1], 'fence', 'perBuyerLimit', 'currency', 'skus')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= ARGV[1] then return { 'recovering' } end

local places = {}
if redis.call('EXISTS', KEYS[4]) == 1 then
  for _, each in ipairs(cjson.decode(sale[4])) do
    local member = redis.call('HGET', KEYS[4], ARGV[2] .. '\t' .. each.sku)
    if member then
      places[#places + 1] = each.sku
      places[#places + 1] = string.match(member, '(%d+)$')
      places[#places + 1] = redis.call('ZLEXCOUNT', KEYS[3], '[' .. each.sku .. '\t', '[' .. member)
    end
  end
end
return { 'known', tonumber(sale[2]), sale[3], redis.call('HGET', KEYS[2], ARGV[2]) or '', places }
