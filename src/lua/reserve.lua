#!lua
-- Decides a batch of buyers of one sale, in the order given, and records every decision at once.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence tag backlogMax, then for each request: buyer key items trace
--        items  sku*quantity,… sorted by SKU; trace  requestId TAB traceparent
-- REPLY  for each request a string: an outcome word, for `reserved` and `replayed` followed by TAB and the record
--          reserved replayed key_reused unknown_sku sold_out insufficient_stock limit_reached
--          sale_not_started sale_paused sale_ended overloaded unknown_sale recovering
-- EVENTS one entry for the whole batch: v 1, s <number of its first event>, c <currency>, d <event lines>
--
-- All or nothing for each request, also for a basket. Reads, decides in tables, then writes: Redis does not
-- roll a script back, so nothing that can refuse comes after the first write. Formats: domain/reservation.ts.

--@include parts/changes.lua

local tag, backlog_max = ARGV[2], tonumber(ARGV[3])
local FIRST, STRIDE = 4, 4
local count = (#ARGV - FIRST + 1) / STRIDE
local replies = {}

if refused then
  for i = 1, count do replies[i] = refused end
  return replies
end
-- Repeated requests are still answered when nobody new gets anything.
if not closed and sale.backlog >= backlog_max then closed = 'overloaded' end

local buyers, skus = {}, {}
for i = 1, count do
  local at = FIRST + (i - 1) * STRIDE
  buyers[i] = ARGV[at]
  basket_of(ARGV[at + 2])
end
for _, basket in pairs(baskets) do
  for _, line in ipairs(basket) do skus[#skus + 1] = line.sku end
end
load_records(buyers)
load_stock(skus)

-- A buyer who keeps giving back may do so only so often: every reservation is remembered for good.
local ENDED_MAX = 100

-- The record under which this buyer already has an answer to this request.
-- Without a key the buyer is the key, for as long as the reservation lives.
local function seek(records, key)
  for text in string.gmatch(records, '[^\n]+') do
    local status, items, record_key =
      string.match(text, '^%d+\t(%a)\t%d+\t%w+\t([^\t]*)\t[^\t]*\t%d+\t%d+\t([^\t]*)$')
    if record_key == key and (key ~= '' or lives(status)) then return text, items end
  end
end

local function decide(buyer, key, items, trace)
  local records = records_of[buyer]
  local units, ended = 0, 0
  if records ~= '' then
    local found, found_items = seek(records, key)
    if found then
      if found_items ~= items then return 'key_reused' end
      return 'replayed\t' .. found
    end
    units, ended = units_of(buyer)
  end
  if closed then return closed end

  local basket = basket_of(items)
  for _, line in ipairs(basket) do
    if not stock[line.sku].remaining then return 'unknown_sku' end
  end
  if units + basket.units > sale.limit or ended >= ENDED_MAX then return 'limit_reached' end
  local short = false
  for _, line in ipairs(basket) do
    local counts = stock[line.sku]
    if counts.remaining <= 0 or counts.waiting > 0 then return 'sold_out' end
    if counts.remaining < line.quantity then short = true end
  end
  if short then return 'insufficient_stock' end
  return 'reserved\t' .. give(buyer, items, key, tag, '', trace)
end

for i = 1, count do
  local at = FIRST + (i - 1) * STRIDE
  replies[i] = decide(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
if #order > 0 then write_changes() end
return replies
