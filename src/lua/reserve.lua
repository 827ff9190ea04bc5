#!lua
-- Decides a batch of buyers of one sale, in the order given, and records every decision at once.
--
-- KEYS   sale stock buyers order holds events
-- ARGV   fence tag backlogMax, then for each request: buyer key items trace
--        items  sku*quantity,… sorted by SKU; trace  requestId TAB traceparent
-- REPLY  for each request a string: an outcome word, for `reserved` and `replayed` followed by TAB and the record
--          reserved replayed key_reused unknown_sku sold_out insufficient_stock limit_reached
--          sale_not_started sale_paused sale_ended overloaded unknown_sale recovering
-- EVENTS one entry for the whole batch: v 1, s <number of its first event>, c <currency>, d <event lines>
--
-- All or nothing for each request, also for a basket. Reads, decides in tables, then writes: Redis does not
-- roll a script back, so nothing that can refuse comes after the first write. Formats: domain/reservation.ts.

local fence, tag, backlog_max = ARGV[1], ARGV[2], tonumber(ARGV[3])
local FIRST, STRIDE = 4, 4
local count = (#ARGV - FIRST + 1) / STRIDE
local replies = {}

local function all_get(outcome)
  for i = 1, count do replies[i] = outcome end
  return replies
end

-- Read ------------------------------------------------------------------------------------------------------

local sale = redis.call('HMGET', KEYS[1], 'fence', 'status', 'startsAt', 'endsAt', 'perBuyerLimit',
  'holdSeconds', 'currency', 'position', 'events', 'drained')
if not sale[1] then return all_get('unknown_sale') end
if sale[1] ~= fence then return all_get('recovering') end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit = tonumber(sale[5])
local position, events = tonumber(sale[8]), tonumber(sale[9])
local expires = now + sale[6] * 1000

-- Why nobody new gets anything now, if so. Repeated requests are still answered.
local closed = false
if sale[2] == 'ended' or (sale[4] ~= '' and now >= tonumber(sale[4])) then closed = 'sale_ended'
elseif sale[2] == 'draft' or (sale[3] ~= '' and now < tonumber(sale[3])) then closed = 'sale_not_started'
elseif sale[2] == 'paused' then closed = 'sale_paused'
elseif events - sale[10] >= backlog_max then closed = 'overloaded'
end

local buyer_fields = {}
for i = 1, count do buyer_fields[i] = ARGV[FIRST + (i - 1) * STRIDE] end
local stored = redis.call('HMGET', KEYS[3], unpack(buyer_fields))

-- A basket's text -> its lines. Most of a batch asks for the same basket, so each text is taken apart once.
local baskets = {}
local function basket_of(text)
  local basket = baskets[text]
  if not basket then
    basket = { units = 0 }
    for sku, quantity in string.gmatch(text, '([^*,]+)%*(%d+)') do
      quantity = tonumber(quantity)
      basket[#basket + 1] = { sku = sku, quantity = quantity }
      basket.units = basket.units + quantity
    end
    baskets[text] = basket
  end
  return basket
end

local stock, stock_fields, skus = {}, {}, {}
for i = 1, count do
  for _, line in ipairs(basket_of(ARGV[FIRST + (i - 1) * STRIDE + 2])) do
    if not stock[line.sku] then
      stock[line.sku] = {}
      skus[#skus + 1] = line.sku
      stock_fields[#stock_fields + 1] = line.sku .. ':remaining'
      stock_fields[#stock_fields + 1] = line.sku .. ':held'
      stock_fields[#stock_fields + 1] = line.sku .. ':price'
    end
  end
end
local counts = redis.call('HMGET', KEYS[2], unpack(stock_fields))
for i, sku in ipairs(skus) do
  stock[sku] = { remaining = tonumber(counts[i * 3 - 2] or nil), held = tonumber(counts[i * 3 - 1] or nil),
    price = counts[i * 3] }
end

-- Decide ----------------------------------------------------------------------------------------------------

-- The record under which this buyer already has an answer to this request, and the units the buyer has.
-- Without a key the buyer is the key, for as long as the reservation lives.
local function seek(records, key)
  local found, found_items, units = nil, nil, 0
  for record in string.gmatch(records, '[^\n]+') do
    local status, items, record_key =
      string.match(record, '^%d+\t(%a)\t%d+\t%w+\t([^\t]*)\t[^\t]*\t%d+\t%d+\t([^\t]*)$')
    local lives = status == 'R' or status == 'C'
    if lives then units = units + basket_of(items).units end
    if record_key == key and (key ~= '' or lives) then found, found_items = record, items end
  end
  return found, found_items, units
end

-- buyer -> all records, as they stand after the decisions so far; changed: in order of first change.
local records_of, changed = {}, {}
local order, lines = {}, {}
local first_position = position + 1

local function decide(buyer, records, key, items, trace)
  local found, found_items, units = nil, nil, 0
  if records then found, found_items, units = seek(records, key) end
  if found then
    if found_items ~= items then return 'key_reused' end
    return 'replayed\t' .. found
  end
  if closed then return closed end

  local basket = basket_of(items)
  for _, line in ipairs(basket) do
    if not stock[line.sku].remaining then return 'unknown_sku' end
  end
  if units + basket.units > limit then return 'limit_reached' end
  local short = false
  for _, line in ipairs(basket) do
    local remaining = stock[line.sku].remaining
    if remaining <= 0 then return 'sold_out' end
    if remaining < line.quantity then short = true end
  end
  if short then return 'insufficient_stock' end

  local prices = {}
  for i, line in ipairs(basket) do
    local sku = stock[line.sku]
    sku.remaining = sku.remaining - line.quantity
    sku.held = sku.held + line.quantity
    sku.changed = true
    prices[i] = sku.price
  end
  position = position + 1
  local record = string.format('1\tR\t%.0f\t%s\t%s\t%s\t%.0f\t%.0f\t%s',
    position, tag, items, table.concat(prices, ','), now, expires, key)
  if not records_of[buyer] then changed[#changed + 1] = buyer end
  records_of[buyer] = records and (records .. '\n' .. record) or record
  order[#order + 1] = buyer
  lines[#lines + 1] = string.format('%s\t%s\t%.0f\t\t%s', record, buyer, now, trace)
  return 'reserved\t' .. record
end

for i = 1, count do
  local at = FIRST + (i - 1) * STRIDE
  local buyer = ARGV[at]
  replies[i] = decide(buyer, records_of[buyer] or stored[i] or nil, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end

-- Write -----------------------------------------------------------------------------------------------------

if #lines == 0 then return replies end

local new_stock, new_records = {}, {}
for sku, state in pairs(stock) do
  if state.changed then
    new_stock[#new_stock + 1] = sku .. ':remaining'
    new_stock[#new_stock + 1] = string.format('%.0f', state.remaining)
    new_stock[#new_stock + 1] = sku .. ':held'
    new_stock[#new_stock + 1] = string.format('%.0f', state.held)
  end
end
for _, buyer in ipairs(changed) do
  new_records[#new_records + 1] = buyer
  new_records[#new_records + 1] = records_of[buyer]
end
redis.call('HSET', KEYS[2], unpack(new_stock))
redis.call('HSET', KEYS[3], unpack(new_records))
redis.call('RPUSH', KEYS[4], unpack(order))
redis.call('ZADD', KEYS[5], string.format('%.0f', expires), string.format('%.0f-%.0f', first_position, position))
redis.call('XADD', KEYS[6], '*', 'v', '1', 's', string.format('%.0f', events + 1), 'c', sale[7],
  'd', table.concat(lines, '\n'))
redis.call('HSET', KEYS[1], 'position', string.format('%.0f', position),
  'events', string.format('%.0f', events + #lines))
return replies
