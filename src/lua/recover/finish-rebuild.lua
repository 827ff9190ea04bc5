#!lua flags=allow-oom
-- Replaces this server's state of a sale by the staged one and opens the sale, in one step. Before it the sale is closed;
-- after it the sale continues from what PostgreSQL has.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting rebuild newBuyers newPast newOrder newHolds newLine newWaiting
-- ARGV   fence timeline closing parts definition stock counters
--        closing     the closing id of this recovery, which the sale or its placeholder must still have
--        parts       how many were staged
--        definition  JSON as in apply-operation; empty: there is no such sale, and all of it is removed
--        stock       JSON [{sku, price, loaded, remaining, held, confirmed, waiting}]
--        counters    JSON {operation, operationOutcome, position, events, gaps, tickets, time}; time  the newest that
--                    PostgreSQL has of the sale
-- REPLY  finished, superseded (by another recovery), open (another process has recovered it on this server)

--@include time definition

local stage = redis.call('HMGET', key_rebuild, 'fence', 'timeline', 'part')
if stage[1] ~= arg_fence or stage[2] ~= arg_timeline or stage[3] ~= arg_parts then return 'superseded' end
local sale = redis.call('HMGET', key_sale, 'fence', 'timeline', 'closing', 'time', 'ahead')
local refused = nil
if sale[1] == arg_fence then
  refused = 'open'
-- A process that was frozen must not replace a newer sale by an older one.
elseif sale[3] ~= arg_closing or (tonumber(sale[2] or -1) or -1) >= tonumber(arg_timeline) then
  refused = 'superseded'
end
if refused then
  redis.call('UNLINK', key_rebuild, key_new_buyers, key_new_past, key_new_order, key_new_holds, key_new_line,
    key_new_waiting)
  return refused
end

-- UNLINK and then RENAME: the time of both does not depend on the number of buyers.
redis.call('UNLINK', key_sale, key_stock, key_buyers, key_past, key_terms, key_order, key_holds, key_events, key_line,
  key_line_by_quantity, key_waiting, key_rebuild)
if arg_definition == '' then return 'finished' end
for from, to in pairs({ [key_new_buyers] = key_buyers, [key_new_past] = key_past, [key_new_order] = key_order,
  [key_new_holds] = key_holds, [key_new_line] = key_line, [key_new_waiting] = key_waiting }) do
  if redis.call('EXISTS', from) == 1 then redis.call('RENAME', from, to) end
end

local fields = {}
for _, sku in ipairs(cjson.decode(arg_stock)) do
  for _, field in ipairs({ 'price', 'loaded', 'remaining', 'held', 'confirmed', 'waiting' }) do
    fields[#fields + 1] = sku.sku .. ':' .. field
    fields[#fields + 1] = string.format('%.0f', sku[field])
  end
end
redis.call('HSET', key_stock, unpack(fields))

local counters = cjson.decode(arg_counters)
write_definition(cjson.decode(arg_definition))
counters.drained = counters.events
-- The sale's time never goes back, see parts/time.lua.
set_time(counters.time, 0)
counters.time, counters.ahead = now, ahead
local kept = { time = tonumber(sale[4] or 0) or 0, ahead = tonumber(sale[5] or 0) or 0 }
-- A time that its own distance from the clock does not explain is damaged.
if kept.time > now and kept.time <= now - ahead + kept.ahead then
  set_time(kept.time, kept.ahead)
  counters.time, counters.ahead = now, ahead
end
for _, field in ipairs({ 'operation', 'position', 'events', 'drained', 'tickets', 'time', 'ahead' }) do
  redis.call('HSET', key_sale, field, string.format('%.0f', counters[field]))
end
redis.call('HSET', key_sale, 'fence', arg_fence, 'timeline', arg_timeline, 'operationOutcome', counters.operationOutcome,
  'gaps', counters.gaps, 'hasShortRecords', '1')
return 'finished'
