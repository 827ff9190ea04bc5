#!lua flags=no-writes
-- Reads where those stand who are asked for, as far as they wait at all.
--
-- KEYS   sale line waiting
-- ARGV   fence asked, each: buyer TAB sku
-- REPLY  {unknown_sale} or {recovering} or {known, {quantity, place, …}} in the order asked, 0 and 0 for who does not
--        wait
--
-- Costs one field for each who is asked for and a logarithm for each who waits, so the caller bounds their number.

local fence = redis.call('HGET', KEYS[1], 'fence')
if not fence then return { 'unknown_sale' } end
if fence ~= ARGV[1] then return { 'recovering' } end

local places = {}
for i, member in ipairs(redis.call('HMGET', KEYS[3], unpack(ARGV, 2))) do
  local quantity, place = 0, 0
  if member then
    local sku, units = string.match(member, '^([^\t]*)\t.*\t(%d+)$')
    quantity = tonumber(units)
    place = redis.call('ZLEXCOUNT', KEYS[2], '[' .. sku .. '\t', '[' .. member)
  end
  places[2 * i - 1] = quantity
  places[2 * i] = place
end
return { 'known', places }
