#!lua flags=allow-oom
-- Applies one numbered operation of an operator to a sale: its whole definition and changes of stock. Also on a full
-- Redis, where operators must still be able to pause and to end.
--
-- KEYS   sale stock
-- ARGV   fence operation timeline definition changes
--        timeline    that the sale must be on; operation 1 begins it
--        definition  JSON {name, currency, status, startsAt, endsAt, perBuyerLimit, holdSeconds, skus: [{sku, name, price}]}
--        changes     JSON [{sku, delta}]
-- REPLY  {word, number, startsAt}: applied (with the start that the sale has now), insufficient_stock (nothing changed,
--        the number is spent), gap (the number last applied), recovering, unknown_sale; startsAt is empty where there is
--        none
--
-- Operations of a sale apply strictly in order and once: asking for the last one again answers what it answered.
-- Operation 1 creates the sale and sets its fence.

--@include parts/definition.lua

local fence, operation = ARGV[1], tonumber(ARGV[2])

local sale = redis.call('HMGET', KEYS[1], 'fence', 'operation', 'operationOutcome', 'timeline', 'forgotten')
-- A mark that a recovery left is no sale.
if sale[5] then sale = {} end
if not sale[1] then
  if operation ~= 1 then return { 'unknown_sale', 0, '' } end
elseif sale[1] ~= fence or (sale[4] or '0') ~= ARGV[3] then
  return { 'recovering', 0, '' }
end
local applied = tonumber(sale[2] or '0')
if operation == applied then return { sale[3], applied, redis.call('HGET', KEYS[1], 'startsAt') or '' } end
if operation ~= applied + 1 then return { 'gap', applied, '' } end

local definition, changes = cjson.decode(ARGV[4]), cjson.decode(ARGV[5])
local delta_of = {}
for _, change in ipairs(changes) do delta_of[change.sku] = (delta_of[change.sku] or 0) + change.delta end

local outcome = 'applied'
local new_stock = {}
for _, sku in ipairs(definition.skus) do
  local counts = redis.call('HMGET', KEYS[2], sku.sku .. ':loaded', sku.sku .. ':remaining', sku.sku .. ':held',
    sku.sku .. ':confirmed')
  local delta = delta_of[sku.sku] or 0
  local remaining = (counts[2] or 0) + delta
  if remaining < 0 then outcome = 'insufficient_stock' end
  for field, value in pairs({ loaded = (counts[1] or 0) + delta, remaining = remaining, held = counts[3] or 0,
    confirmed = counts[4] or 0, price = sku.price }) do
    new_stock[#new_stock + 1] = sku.sku .. ':' .. field
    new_stock[#new_stock + 1] = string.format('%.0f', value)
  end
end

if not sale[1] then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'operation', operation, 'operationOutcome', outcome)
if outcome ~= 'applied' then return { outcome, operation, '' } end

if not sale[1] then
  redis.call('HSET', KEYS[1], 'fence', fence, 'timeline', ARGV[3], 'position', '0', 'events', '0', 'drained', '0')
end
redis.call('HSET', KEYS[2], unpack(new_stock))
-- What has begun has begun: buyers had answers that a later start would contradict. Whoever asked is told, so that
-- PostgreSQL remembers no other start.
local before = redis.call('HMGET', KEYS[1], 'status', 'startsAt')
if before[1] and before[1] ~= 'draft' and definition.status ~= 'draft' and before[2] ~= '' then
  local time = redis.call('TIME')
  if time[1] * 1000 >= tonumber(before[2]) then definition.startsAt = tonumber(before[2]) end
end
write_definition(definition)
return { 'applied', operation, redis.call('HGET', KEYS[1], 'startsAt') }
