#!lua
-- Decides a batch of buyers of one sale, in the order given, and writes all decisions at once.
--
-- KEYS   sale stock buyers past terms order holds events
-- ARGV   fence tag backlogMax requests
--        requests  MessagePack arrays, one after the other
--          SKUs      of all baskets, each once
--          baskets   items code of each, each once. items  sku*quantity,… sorted by SKU; code  bytes: the number of items,
--                    the SKU of each item, counted from 1, the quantity of each item. Two bytes for each SKU if one of them
--                    is beyond 255
--          buyers keys indexes lines   of each request: the buyer, the key or an empty text, the index of its basket from
--                    0, the short event line for the first basket of a batch. Without indexes: there is one basket
-- REPLY  lines, LF between them. The first: position TAB reservedAt TAB expiresAt of the first new reservation, and if there
--        is one, TAB timeline TAB its index in the order. Then one for each request: an outcome word, after some of them
--        TAB and what the word does not say. Each reserved request has the position after the previous reserved one.
--          reserved TAB prices                  replayed TAB record
--          sold_out TAB available,…             of each item, in their order; without it: of the one item, 0
--          insufficient_stock TAB available,…   as above
--          limit_reached TAB limit TAB units that it still allows TAB sku (empty: the limit of the sale)
--          unknown_sku TAB sku,…                too_many_holds TAB end of the cool-down in ms
--          holds_due (a hold past its deadline has not been ended: end it by sweep.lua, then ask again)
--          key_reused unreadable (the buyer's records are damaged)
--          sale_not_started sale_paused sale_ended overloaded unknown_sale recovering
-- EVENTS one entry for the whole batch: v 4, s <number of its first event>, c <currency>, d <event lines>
--
-- A request gets its whole basket or nothing. The script reads, decides in tables, then writes: Redis does not roll a
-- script back, so nothing that can refuse comes after the first write.

--@include time sale stock record
--@include short-record buyer-index cool-down buyers
--@include limits changes available

-- One argument and one reply for the whole batch, and the reply repeats nothing that the hot path knows: many arguments
-- would cost the hot path more than this costs here, and most of the time here goes into text. The hot path also parses the
-- baskets, which takes longer here.
local skus, baskets, buyers, keys, indexes, lines = cmsgpack.unpack(arg_requests)
local buyer_count = #buyers
local replies = { number(first_position) .. '\t' .. number(now) .. '\t' .. number(now + sale.hold_ms) }

if refused then
  for i = 1, buyer_count do replies[i + 1] = refused end
  return concat(replies, '\n')
end
-- Repeated requests still get their first result.
if not closed and sale.backlog >= tonumber(arg_backlog_max) then closed = 'overloaded' end

load_records(buyers)

-- What buyers can get of each item. The most frequent refusal, of one item that is sold out, is a constant.
local function shortage_of(basket)
  local units, is_sold_out = {}, false
  for i, counts in ipairs(basket.counts) do
    local available = available_of(counts.sku)
    if available <= 0 then is_sold_out = true end
    units[i] = number(available)
  end
  if not is_sold_out then return 'insufficient_stock\t' .. concat(units, ',') end
  return #units == 1 and 'sold_out' or 'sold_out\t' .. concat(units, ',')
end

local function unknown_in(basket)
  local unknown = {}
  for _, counts in ipairs(basket.counts) do
    if not counts.remaining then unknown[#unknown + 1] = counts.sku end
  end
  return 'unknown_sku\t' .. concat(unknown, ',')
end

-- The buyer's summary, and the reply to a repeated request. While a reservation without a key is
-- living, its buyer and its items are the key. It may also be one that the waitlist gave to the buyer.
local function look_up(buyer, key, items)
  local known = summary_of_buyer(buyer)
  local found = key == '' and keyless_record(buyer, items) or key ~= '' and keyed_record(buyer, key)
  if not found then return known end
  if is_overdue(found, now) then return known, 'holds_due' end
  if not has_items(found, items) then return known, 'key_reused' end
  return known, 'replayed\t' .. found
end

-- The stock of the SKUs, in their order. All are loaded at once: a command for each basket would take twice as long.
local numbered = nil
local function load_skus()
  load_stock(skus)
  numbered = {}
  for i, sku in ipairs(skus) do numbered[i] = stock[sku] end
end

local parsed = {}
local function basket_at(index)
  local basket = parsed[index]
  if basket then return basket end
  if not numbered then load_skus() end
  local code = baskets[index * 2 + 2]
  local count, units = byte(code), 0
  local is_wide = #code > 1 + 2 * count
  -- Made with its final size. The counts take the place of the indexes.
  local counts, quantities = { byte(code, 2, -1 - count) }, { byte(code, -count, -1) }
  for i = 1, count do
    counts[i] = numbered[is_wide and counts[i * 2 - 1] * 256 + counts[i * 2] or counts[i]]
    units = units + quantities[i]
  end
  for i = count + 1, #counts do counts[i] = nil end
  basket = new_basket(nil, quantities, units, counts)
  parsed[index] = basket
  return basket
end

-- By their indexes: baskets that hold_again() can reserve.
local repeatable = {}
local function decide(buyer, key, index, line)
  local sold = repeatable[index]
  if sold and not buyer_texts[buyer] and hold_again(sold, buyer, key, line) then return sold.reply end

  local items = baskets[index * 2 + 1]
  local known = nil
  if buyer_texts[buyer] then
    if is_oversize(buyer) then return 'overloaded' end
    -- A damaged record fails its buyer's requests, not the batch.
    local is_read, value, repeated = pcall(look_up, buyer, key, items)
    if not is_read then return 'unreadable' end
    if repeated then return repeated end
    known = value
  end
  if closed then return closed end

  -- Only now: a repeated request needs no more of its basket than the text.
  local basket = basket_at(index)
  local is_unknown, is_short = false, false
  local all, quantities = basket.counts, basket.quantities
  for i = 1, #all do
    local counts = all[i]
    local available = counts.remaining
    if not available then
      is_unknown = true
    elseif (counts.waiting == 0 and available or available_of(counts.sku)) < quantities[i] then
      is_short = true
    end
  end
  if is_unknown then return unknown_in(basket) end
  local limit, left, sku = limit_above(basket, known)
  if limit and holds_are_due() then return 'holds_due' end
  if limit then return concat({ 'limit_reached', number(limit), number(left), sku }, '\t') end
  if is_short then return holds_are_due() and 'holds_due' or shortage_of(basket) end
  local until_ms = known and cool_down_end(known.cool_from)
  if until_ms then return 'too_many_holds\t' .. number(until_ms) end
  hold_basket(basket, buyer, items, sale.hold_ms, key, arg_tag, line, not known)
  if not known and is_repeatable(basket) then repeatable[index] = basket end
  return basket.reply
end

for i = 1, buyer_count do replies[i + 1] = decide(buyers[i], keys[i], indexes[i] or 0, lines[i]) end
if #order > 0 or has_moved() then
  local order_length = write_changes()
  if #order > 0 then
    replies[1] = concat({ replies[1], sale.timeline, number(order_length - #order) }, '\t')
  end
end
return concat(replies, '\n')
