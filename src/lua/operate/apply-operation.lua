#!lua flags=allow-oom
-- Applies one numbered sale operation: the whole definition and changes of stock. Runs on a full Redis too, where
-- operators must still be able to pause and to end a sale.
--
-- KEYS   sale stock
-- ARGV   fence operation timeline definition changes
--        timeline    that the sale must be on; operation 1 begins it
--        definition  JSON {name, currency, status, startsAt, endsAt, perBuyerLimit, holdSeconds, skus: [{sku, name, price}]}
--        changes     JSON [{sku, delta}]
-- REPLY  {word, number, startsAt}: applied (with the sale's start, empty if it has none), insufficient_stock (nothing
--        changed, the number is used), gap (with the number last applied), recovering, unknown_sale
--
-- Operations of a sale apply strictly in order and once: repeating the last one returns its first result.
-- Operation 1 creates the sale and sets its fence.

--@include definition

local operation = tonumber(arg_operation)

local sale = redis.call('HMGET', key_sale, 'fence', 'operation', 'operationOutcome', 'timeline', 'forgotten')
-- A mark that a recovery left is no sale.
if sale[5] then sale = {} end
if not sale[1] then
  if operation ~= 1 then return { 'unknown_sale', 0, '' } end
elseif sale[1] ~= arg_fence or (sale[4] or '0') ~= arg_timeline then
  return { 'recovering', 0, '' }
end
local applied = tonumber(sale[2] or '0')
if operation == applied then return { sale[3], applied, redis.call('HGET', key_sale, 'startsAt') or '' } end
if operation ~= applied + 1 then return { 'gap', applied, '' } end

local definition, changes = cjson.decode(arg_definition), cjson.decode(arg_changes)
local delta_of = {}
for _, change in ipairs(changes) do delta_of[change.sku] = (delta_of[change.sku] or 0) + change.delta end

local outcome = 'applied'
local new_stock = {}
for _, sku in ipairs(definition.skus) do
  local counts = redis.call('HMGET', key_stock, sku.sku .. ':loaded', sku.sku .. ':remaining', sku.sku .. ':held',
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

if not sale[1] then redis.call('DEL', key_sale) end
redis.call('HSET', key_sale, 'operation', operation, 'operationOutcome', outcome)
if outcome ~= 'applied' then return { outcome, operation, '' } end

if not sale[1] then
  redis.call('HSET', key_sale, 'fence', arg_fence, 'timeline', arg_timeline, 'position', '0', 'events', '0',
    'drained', '0')
end
redis.call('HSET', key_stock, unpack(new_stock))
-- A sale that has started keeps its start: buyers got results that a later start would contradict. The reply returns the
-- start, so that PostgreSQL stores the same one.
local before = redis.call('HMGET', key_sale, 'status', 'startsAt')
if before[1] and before[1] ~= 'draft' and definition.status ~= 'draft' and before[2] ~= '' then
  local time = redis.call('TIME')
  if time[1] * 1000 >= tonumber(before[2]) then definition.startsAt = tonumber(before[2]) end
end
write_definition(definition)
return { 'applied', operation, redis.call('HGET', key_sale, 'startsAt') }
