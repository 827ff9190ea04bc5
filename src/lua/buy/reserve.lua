#!lua
-- Decides a batch of buyers of one sale, in the order given, and writes all decisions at once.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence tag backlogMax requests
--        requests  a MessagePack array of strings, four for each request: buyer key items trace
--        items  sku*quantity,… sorted by SKU; trace  requestId TAB traceparent
-- REPLY  lines, LF between them. The first: position TAB reservedAt TAB expiresAt of the first new reservation. Then one
--        for each request: an outcome word; `replayed` is followed by TAB and the record, `reserved` by TAB and the
--        prices. Each reserved request has the position after the previous reserved one.
--          reserved replayed key_reused unknown_sku sold_out insufficient_stock limit_reached
--          sale_not_started sale_paused sale_ended overloaded unknown_sale recovering
-- EVENTS one entry for the whole batch: v 1, s <number of its first event>, c <currency>, d <event lines>
--
-- A request gets its whole basket or nothing. The script reads, decides in tables, then writes: Redis does not roll a
-- script back, so nothing that can refuse comes after the first write.

--@include time sale stock record buyers changes

-- One argument and one reply for the whole batch, and the reply repeats nothing that the hot path knows: many arguments
-- would cost the hot path more than this costs here, and most of the time here goes into text.
local requests = cmsgpack.unpack(arg_requests)
local buyers = {}
for at = 1, #requests, 4 do buyers[#buyers + 1] = requests[at] end
local replies = { number(first_position) .. '\t' .. number(now) .. '\t' .. number(now + sale.hold_ms) }

if refused then
  for i = 1, #buyers do replies[i + 1] = refused end
  return concat(replies, '\n')
end
-- Repeated requests still get their first result.
if not closed and sale.backlog >= tonumber(arg_backlog_max) then closed = 'overloaded' end

local skus = {}
for at = 3, #requests, 4 do basket_of(requests[at]) end
for _, basket in pairs(baskets) do
  for _, item in ipairs(basket) do skus[#skus + 1] = item.sku end
end
load_records(buyers)
load_stock(skus)

-- A buyer's records, parsed once for all of its requests in this batch. While a reservation without a key is living, its
-- buyer is the key.
local known_of = {}
local function remember(known, text, status, items, key)
  known.count = known.count + 1
  if is_living(status) then known.units = known.units + basket_of(items).units end
  -- A request without a key also finds what the waitlist gave to the buyer.
  if string.sub(key, 1, 9) == 'waitlist ' then key = '' end
  if (key ~= '' or is_living(status)) and not known.by_key[key] then
    known.by_key[key] = { text = text, items = items }
  end
end

local function known_to(buyer)
  local known = known_of[buyer]
  if not known then
    known = { count = 0, units = 0, by_key = {} }
    known_of[buyer] = known
    for text in each_record(records_of[buyer]) do
      local status, items, _, key = limits_and_key_of(text)
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
  for _, item in ipairs(basket) do
    if not stock[item.sku].remaining then return 'unknown_sku' end
  end
  if (known and known.units or 0) + basket.units > sale.limit then return 'limit_reached' end
  if known and known.count >= RESERVATIONS_MAX then return 'limit_reached' end
  local is_short = false
  for _, item in ipairs(basket) do
    local counts = stock[item.sku]
    if counts.remaining <= 0 or counts.waiting > 0 then return 'sold_out' end
    if counts.remaining < item.quantity then is_short = true end
  end
  if is_short then return 'insufficient_stock' end
  local record = hold_basket(buyer, items, key, arg_tag, '', trace)
  if known then remember(known, record, 'R', items, key) end
  if not basket.reply then basket.reply = 'reserved\t' .. basket.prices end
  return basket.reply
end

for i, buyer in ipairs(buyers) do
  local at = i * 4
  replies[i + 1] = decide(buyer, requests[at - 2], requests[at - 1], requests[at])
end
if #order > 0 then write_changes() end
return concat(replies, '\n')
