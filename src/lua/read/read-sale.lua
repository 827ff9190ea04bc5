#!lua flags=no-writes
-- Reads a sale without its buyers, at one moment.
--
-- KEYS   sale stock events holds
-- ARGV   fence
-- REPLY  {unknown_sale}, {forgotten} (unknown, but a recovery has begun, see close-sale.lua), {archived} (only its marker
--        is here, see mark-archived.lua), or {known | recovering, now in ms, length of the stream, {field, value, …} of
--        the sale, {field, value, …} of the stock, ahead in ms, next deadline of a hold in ms or 0}; `recovering` if the sale was opened on another server,
--        or closed for a recovery. now and ahead: the sale's time, see parts/time.lua

--@include time

local sale = redis.call('HGETALL', key_sale)
if #sale == 0 then return { 'unknown_sale' } end

local word, stored_time, stored_ahead = 'recovering', nil, nil
for i = 1, #sale, 2 do
  if sale[i] == 'forgotten' then return { 'forgotten' } end
  if sale[i] == 'status' and sale[i + 1] == 'archived' then return { 'archived' } end
  if sale[i] == 'fence' and sale[i + 1] == arg_fence then word = 'known' end
  if sale[i] == 'time' then stored_time = sale[i + 1] end
  if sale[i] == 'ahead' then stored_ahead = sale[i + 1] end
end
set_time(stored_time, stored_ahead)
local head = redis.call('ZRANGE', key_holds, 0, 0, 'WITHSCORES')
return { word, now, redis.call('XLEN', key_events), sale, redis.call('HGETALL', key_stock), ahead, head[2] or 0 }
