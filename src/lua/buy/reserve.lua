#!lua
-- Decides a batch of buyers of one sale, in the order given, and writes all decisions at once.
--
-- KEYS   sale stock buyers past order holds events
-- ARGV   fence tag backlogMax requests
--        requests  a MessagePack array of strings, four for each request: buyer key items trace
--        items  sku*quantity,… sorted by SKU; trace  requestId TAB traceparent
-- REPLY  lines, LF between them. The first: position TAB reservedAt TAB expiresAt of the first new reservation. Then one
--        for each request: an outcome word, after some of them TAB and what the word does not say. Each reserved request
--        has the position after the previous reserved one.
--          reserved TAB prices                  replayed TAB record
--          sold_out TAB available,…             of each item, in their order; without it: of the one item, 0
--          insufficient_stock TAB available,…   as above
--          limit_reached TAB limit TAB units that it still allows TAB sku (empty: the limit of the sale)
--          unknown_sku TAB sku,…                too_many_holds TAB end of the cool-down in ms
--          holds_due (a hold past its deadline has not been ended: end it by sweep.lua, then ask again)
--          key_reused unreadable (the buyer's records are damaged)
--          sale_not_started sale_paused sale_ended overloaded unknown_sale recovering
-- EVENTS one entry for the whole batch: v 1, s <number of its first event>, c <currency>, d <event lines>
--
-- A request gets its whole basket or nothing. The script reads, decides in tables, then writes: Redis does not roll a
-- script back, so nothing that can refuse comes after the first write.

--@include time sale stock record past cool-down buyers limits changes available

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

-- A buyer's records, read once for all of its requests in this batch.
local known_of = {}
local function known_to(buyer)
  local known = known_of[buyer]
  if not known then
    known = summary_of_buyer(buyer)
    known_of[buyer] = known
    -- Only earlier versions have left a field too long.
    if known.ended > ENDED_KEPT then shorten(buyer) end
  end
  return known
end

-- The reservation that a request repeats. While a reservation without a key is living, its buyer and its items are the key.
-- It may also be one that the waitlist gave to the buyer.
local function repeated(buyer, key, items, known)
  if key == '' then return known.keyless[items] end
  return record_by_key(records_of[buyer], key) or past_record_by_key(buyer, key, known.ended)
end

-- What buyers can get of each item. The most frequent refusal, of one item that is sold out, is a constant.
local function shortage_of(basket)
  local counts, is_sold_out = {}, false
  for i, item in ipairs(basket) do
    local available = available_of(item.sku)
    if available <= 0 then is_sold_out = true end
    counts[i] = number(available)
  end
  if not is_sold_out then return 'insufficient_stock\t' .. concat(counts, ',') end
  return #basket == 1 and 'sold_out' or 'sold_out\t' .. concat(counts, ',')
end

local function unknown_in(basket)
  local unknown = {}
  for _, item in ipairs(basket) do
    if not stock[item.sku].remaining then unknown[#unknown + 1] = item.sku end
  end
  return 'unknown_sku\t' .. concat(unknown, ',')
end

local function decide(buyer, key, items, trace)
  local known = nil
  if records_of[buyer] ~= '' then
    if is_oversize(buyer) then return 'overloaded' end
    -- A damaged field fails its buyer's requests, not the batch.
    local is_read, value = pcall(known_to, buyer)
    if not is_read then return 'unreadable' end
    known = value
    local found = repeated(buyer, key, items, known)
    if found then
      if is_overdue(found, now) then return 'holds_due' end
      if items_of(found) ~= items then return 'key_reused' end
      return 'replayed\t' .. found
    end
  end
  if closed then return closed end

  local basket = basket_of(items)
  for _, item in ipairs(basket) do
    if not stock[item.sku].remaining then return unknown_in(basket) end
  end
  local limit, left, sku = limit_above(basket, known)
  if limit and holds_are_due() then return 'holds_due' end
  if limit then return concat({ 'limit_reached', number(limit), number(left), sku }, '\t') end
  for _, item in ipairs(basket) do
    if available_of(item.sku) < item.quantity then return holds_are_due() and 'holds_due' or shortage_of(basket) end
  end
  local until_ms = known and cool_down_end(records_of[buyer])
  if until_ms then return 'too_many_holds\t' .. number(until_ms) end
  local record = hold_basket(buyer, items, key, arg_tag, '', trace)
  if known then
    known.units, known.living = known.units + basket.units, known.living + 1
    known.held[known.living], known.units_of = items, nil
    if key == '' then known.keyless[items] = record end
  end
  if not basket.reply then basket.reply = 'reserved\t' .. basket.prices end
  return basket.reply
end

for i, buyer in ipairs(buyers) do
  local at = i * 4
  replies[i + 1] = decide(buyer, requests[at - 2], requests[at - 1], requests[at])
end
if #order > 0 or next(changed_buyers) then write_changes() end
return concat(replies, '\n')
