#!lua
-- Decides a batch of buyers of one sale, in the order given, and records every decision at once.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence tag backlogMax requests
--        requests  a MessagePack array of strings, four for each request: buyer key items trace
--        items  sku*quantity,… sorted by SKU; trace  requestId TAB traceparent
-- REPLY  lines, LF between them; the first: position TAB reservedAt TAB expiresAt, of the first reservation made here
--        then one for each request: an outcome word, for `replayed` followed by TAB and the record, for `reserved` by
--        TAB and the prices; each that is reserved has the position after the one before it
--          reserved replayed key_reused unknown_sku sold_out insufficient_stock limit_reached
--          sale_not_started sale_paused sale_ended overloaded unknown_sale recovering
-- EVENTS one entry for the whole batch: v 1, s <number of its first event>, c <currency>, d <event lines>
--
-- All or nothing for each request, also for a basket. Reads, decides in tables, then writes: Redis does not
-- roll a script back, so nothing that can refuse comes after the first write. Formats: domain/reservation.ts.

--@include parts/changes.lua

local tag, backlog_max = ARGV[2], tonumber(ARGV[3])
-- One argument and one reply for the whole batch, and in the reply nothing that the front end knows: many arguments would
-- cost it more than this costs here, and text is what most of the work here is about.
local requests = cmsgpack.unpack(ARGV[4])
local buyers = {}
for at = 1, #requests, 4 do buyers[#buyers + 1] = requests[at] end
local replies = { number(first_position) .. '\t' .. number(now) .. '\t' .. number(now + sale.hold_ms) }

if refused then
  for i = 1, #buyers do replies[i + 1] = refused end
  return concat(replies, '\n')
end
-- Repeated requests are still answered when nobody new gets anything.
if not closed and sale.backlog >= backlog_max then closed = 'overloaded' end

local skus = {}
for at = 3, #requests, 4 do basket_of(requests[at]) end
for _, basket in pairs(baskets) do
  for _, line in ipairs(basket) do skus[#skus + 1] = line.sku end
end
load_records(buyers)
load_stock(skus)

-- What a buyer has, taken apart once for all of its requests in this batch. Without a key the buyer is the key, for as
-- long as the reservation lives.
local known_of = {}
local function remember(known, text, status, items, key)
  known.count = known.count + 1
  if lives(status) then known.units = known.units + basket_of(items).units end
  -- What the line gave is found by whoever asks without a key: it is what the buyer has.
  if string.sub(key, 1, 9) == 'waitlist ' then key = '' end
  if (key ~= '' or lives(status)) and not known.by_key[key] then
    known.by_key[key] = { text = text, items = items }
  end
end

local function known_to(buyer)
  local known = known_of[buyer]
  if not known then
    known = { count = 0, units = 0, by_key = {} }
    known_of[buyer] = known
    for text in string.gmatch(records_of[buyer], '[^\n]+') do
      local status, items, key =
        string.match(text, '^%d+\t(%a)\t%d+\t%w+\t([^\t]*)\t[^\t]*\t%d+\t%d+\t([^\t]*)$')
      remember(known, text, status, items, key)
    end
  end
  return known
end

local function decide(buyer, key, items, trace)
  local known = nil
  if records_of[buyer] ~= '' then
    known = known_to(buyer)
    local found = known.by_key[key]
    if found then
      if found.items ~= items then return 'key_reused' end
      return 'replayed\t' .. found.text
    end
  end
  if closed then return closed end

  local basket = basket_of(items)
  for _, line in ipairs(basket) do
    if not stock[line.sku].remaining then return 'unknown_sku' end
  end
  if (known and known.units or 0) + basket.units > sale.limit then return 'limit_reached' end
  if known and known.count >= RESERVATIONS_MAX then return 'limit_reached' end
  local short = false
  for _, line in ipairs(basket) do
    local counts = stock[line.sku]
    if counts.remaining <= 0 or counts.waiting > 0 then return 'sold_out' end
    if counts.remaining < line.quantity then short = true end
  end
  if short then return 'insufficient_stock' end
  local record = give(buyer, items, key, tag, '', trace)
  if known then remember(known, record, 'R', items, key) end
  return basket.told
end

for i, buyer in ipairs(buyers) do
  local at = i * 4
  replies[i + 1] = decide(buyer, requests[at - 2], requests[at - 1], requests[at])
end
if #order > 0 then write_changes() end
return concat(replies, '\n')
