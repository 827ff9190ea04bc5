#!lua flags=no-writes
-- Reads everything that is known of a sale but its buyers, at one moment.
--
-- KEYS   sale stock events
-- ARGV   fence
-- REPLY  {unknown_sale}, {forgotten} (as unknown, but a recovery has begun, see close-sale.lua), or {known | recovering,
--        now in ms, length of the stream, {field, value, …} of the sale, {field, value, …} of the stock}; `recovering`
--        when the sale was opened on another server than this one, or closed to be recovered

local sale = redis.call('HGETALL', KEYS[1])
if #sale == 0 then return { 'unknown_sale' } end

local word = 'recovering'
for i = 1, #sale, 2 do
  if sale[i] == 'forgotten' then return { 'forgotten' } end
  if sale[i] == 'fence' and sale[i + 1] == ARGV[1] then word = 'known' end
end
local time = redis.call('TIME')
return { word, time[1] * 1000 + math.floor(time[2] / 1000), redis.call('XLEN', KEYS[3]), sale,
  redis.call('HGETALL', KEYS[2]) }
