#!lua flags=allow-oom
-- Puts a rebuilt sale in the place of whatever this server had of it, and opens it. All at once: before, the sale is
-- closed; after, it sells on from what PostgreSQL has.
--
-- KEYS   sale stock buyers order holds events line waiting rebuild newBuyers newOrder newHolds newLine newWaiting
-- ARGV   fence timeline closing parts definition stock counters
--        closing     that of this recovery, which the sale, or the mark in its place, must still have
--        parts       how many were staged
--        definition  JSON as in apply-operation; or empty: there is no such sale, all of it goes
--        stock       JSON [{sku, price, loaded, remaining, held, confirmed, waiting}]
--        counters    JSON {operation, operationOutcome, position, events, gaps, tickets}
-- REPLY  finished, superseded (by another recovery), open (somebody else has recovered it on this server)

--@include parts/definition.lua

local fence, timeline = ARGV[1], ARGV[2]
local stage = redis.call('HMGET', KEYS[9], 'fence', 'timeline', 'part')
if stage[1] ~= fence or stage[2] ~= timeline or stage[3] ~= ARGV[4] then return 'superseded' end
local sale = redis.call('HMGET', KEYS[1], 'fence', 'timeline', 'closing')
local refused = nil
if sale[1] == fence then
  refused = 'open'
-- Whoever was frozen meanwhile must not put an older sale in the place of a newer one.
elseif sale[3] ~= ARGV[3] or tonumber(sale[2] or -1) >= tonumber(timeline) then
  refused = 'superseded'
end
if refused then
  for i = 9, #KEYS do redis.call('UNLINK', KEYS[i]) end
  return refused
end

-- UNLINK and then RENAME: neither takes longer for a million buyers than for one.
for i = 1, 9 do redis.call('UNLINK', KEYS[i]) end
if ARGV[5] == '' then return 'finished' end
for from, to in pairs({ [10] = 3, [11] = 4, [12] = 5, [13] = 7, [14] = 8 }) do
  if redis.call('EXISTS', KEYS[from]) == 1 then redis.call('RENAME', KEYS[from], KEYS[to]) end
end

local fields = {}
for _, sku in ipairs(cjson.decode(ARGV[6])) do
  for _, field in ipairs({ 'price', 'loaded', 'remaining', 'held', 'confirmed', 'waiting' }) do
    fields[#fields + 1] = sku.sku .. ':' .. field
    fields[#fields + 1] = string.format('%.0f', sku[field])
  end
end
redis.call('HSET', KEYS[2], unpack(fields))

local counters = cjson.decode(ARGV[7])
write_definition(cjson.decode(ARGV[5]))
redis.call('HSET', KEYS[1],
  'fence', fence,
  'timeline', timeline,
  'operation', string.format('%.0f', counters.operation),
  'operationOutcome', counters.operationOutcome,
  'position', string.format('%.0f', counters.position),
  'events', string.format('%.0f', counters.events),
  'drained', string.format('%.0f', counters.events),
  'gaps', counters.gaps,
  'tickets', string.format('%.0f', counters.tickets))
return 'finished'
