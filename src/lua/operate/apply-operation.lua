#!lua flags=allow-oom
-- Applies one numbered sale operation: the whole definition and changes of stock. Runs on a full Redis too, where
-- operators must still be able to pause and to end a sale.
--
-- KEYS   sale stock
-- ARGV   fence operation timeline definition changes
--        timeline    that the sale must be on; operation 1 begins it
--        definition  JSON {name, currency, status, startsAt, endsAt, perBuyerLimit, holdSeconds,
--                    waitlistHoldSeconds (absent: as holdSeconds), skus: [{sku, name, price, perBuyerLimit (absent: none)}]}
--        changes     JSON [{sku, delta}]
-- REPLY  {word, number, startsAt}: applied (with the sale's start, empty if it has none), insufficient_stock or sale_ended
--        (nothing changed, the number is used), gap (with the number last applied), recovering (closed or damaged),
--        unknown_sale
--
-- Operations of a sale apply strictly in order and once: repeating the last one returns its first result.
-- Operation 1 creates the sale and sets its fence.
--
-- A sale that has ended stays ended, because buyers may have got that response: an operation that would change its end
-- is refused as a whole.

--@include time definition

local operation = tonumber(arg_operation)

local sale = redis.call('HMGET', key_sale, 'fence', 'operation', 'operationOutcome', 'timeline', 'forgotten', 'status',
  'startsAt', 'endsAt', 'time', 'ahead', 'skus')
-- A mark that a recovery left is no sale.
if sale[5] then sale = {} end
set_time(sale[9], sale[10])
local status, starts_at, ends_at = sale[6], sale[7] or '', sale[8] or ''

if not sale[1] then
  if operation ~= 1 then return { 'unknown_sale', 0, '' } end
elseif sale[1] ~= arg_fence or (sale[4] or '0') ~= arg_timeline then
  return { 'recovering', 0, '' }
end
local applied = tonumber(sale[2] or '0')
if operation == applied then return { sale[3], applied, starts_at } end
if operation ~= applied + 1 then return { 'gap', applied, '' } end

local definition, changes = cjson.decode(arg_definition), cjson.decode(arg_changes)
-- The SKUs that have counts. Missing counts are damaged, and must not become 0.
local is_counted = {}
if sale[1] then
  local is_read, skus = pcall(cjson.decode, sale[11])
  if not is_read or type(skus) ~= 'table' then return { 'recovering', 0, '' } end
  for _, each in ipairs(skus) do is_counted[each.sku] = true end
end
local delta_of = {}
for _, change in ipairs(changes) do delta_of[change.sku] = (delta_of[change.sku] or 0) + change.delta end

local outcome = 'applied'
-- A pause may still be resumed: an end by time outlasts it.
if sale[1] and has_ended(status, ends_at) and (or_empty(definition.endsAt) ~= ends_at or definition.status == 'draft'
  or (status == 'ended' and definition.status ~= 'ended')) then
  outcome = 'sale_ended'
end
-- A sale that has started keeps its start: buyers got results that a later start would contradict. The reply returns the
-- start, so that PostgreSQL stores the same one.
if status and status ~= 'draft' and definition.status ~= 'draft' and starts_at ~= '' and now >= tonumber(starts_at) then
  definition.startsAt = tonumber(starts_at)
end
local new_stock = {}
for _, sku in ipairs(definition.skus) do
  local counts = redis.call('HMGET', key_stock, sku.sku .. ':loaded', sku.sku .. ':remaining', sku.sku .. ':held',
    sku.sku .. ':confirmed')
  for i = 1, 4 do
    if is_counted[sku.sku] and not tonumber(counts[i]) then return { 'recovering', 0, '' } end
  end
  local delta = delta_of[sku.sku] or 0
  local remaining = (counts[2] or 0) + delta
  if remaining < 0 and outcome == 'applied' then outcome = 'insufficient_stock' end
  for field, value in pairs({ loaded = (counts[1] or 0) + delta, remaining = remaining, held = counts[3] or 0,
    confirmed = counts[4] or 0, price = sku.price }) do
    new_stock[#new_stock + 1] = sku.sku .. ':' .. field
    new_stock[#new_stock + 1] = string.format('%.0f', value)
  end
end

if not sale[1] then redis.call('DEL', key_sale) end
-- The time of a decision is stored with it, so that no clock can withdraw it.
redis.call('HSET', key_sale, 'operation', operation, 'operationOutcome', outcome, 'time', string.format('%.0f', now),
  'ahead', string.format('%.0f', ahead))
if outcome ~= 'applied' then return { outcome, operation, '' } end

if not sale[1] then
  redis.call('HSET', key_sale, 'fence', arg_fence, 'timeline', arg_timeline, 'position', '0', 'events', '0',
    'drained', '0')
end
redis.call('HSET', key_stock, unpack(new_stock))
write_definition(definition)
return { 'applied', operation, or_empty(definition.startsAt) }
