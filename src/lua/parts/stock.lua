-- Baskets and the counts of SKUs.
--
-- NEEDS    key_stock call number sale
-- EXPORTS  new_basket basket_of stock load_stock counts_of add_stock move_stock hold_stock write_stock

-- {skus, quantities, units, counts} of `sku*quantity,…`; counts: see counts_of(). Named here, so that the table has room for
-- what hold_basket() adds.
local function new_basket(skus, quantities, units, counts)
  return { skus = skus, quantities = quantities, units = units, counts = counts, prices = nil, tail = nil, reply = nil, number = nil }
end

-- In blocks, because a script has at most 200 local names.
local basket_of
do
local baskets = {}

-- Parsed once each. A pattern would take four times as long for long names, and a table for each item a quarter more.
function basket_of(text)
  local basket = baskets[text]
  if not basket then
    local skus, quantities, units, count, at = {}, {}, 0, 0, 1
    repeat
      local star = string.find(text, '*', at, true)
      local comma = string.find(text, ',', star, true)
      local quantity = tonumber(string.sub(text, star + 1, comma and comma - 1))
      count, units = count + 1, units + quantity
      skus[count], quantities[count] = string.sub(text, at, star - 1), quantity
      at = comma and comma + 1
    until not at
    basket = new_basket(skus, quantities, units)
    baskets[text] = basket
  end
  return basket
end
end

-- stock[sku] = { sku, remaining, held, waiting, price, limit, at, is_moved }; remaining is nil if the sale has no such SKU,
-- and limit if the SKU has none. `confirmed` decides nothing, so only add_stock reads it. `at`: where the names of its fields
-- are. is_moved: remaining or held has changed; changed: the other fields that have.
local stock = {}
local load_stock, write_stock
do
local names, names_size = {}, 0
-- Five values each: unpack() returns fewer than 8,000, and buyers may name SKUs that the sale does not have.
local SKUS_AT_ONCE = 1000

local function add_counts(sku, at, remaining, held, price, limit, waiting)
  if not remaining then
    if held then error('the stock of ' .. sku .. ' is damaged') end
    stock[sku] = { sku = sku }
    return
  end
  local counts = { sku = sku, remaining = tonumber(remaining), held = tonumber(held),
    waiting = waiting and tonumber(waiting), price = price, limit = limit and tonumber(limit), at = at, is_moved = false }
  if not waiting then counts.waiting = 0 end
  if not limit then counts.limit = nil end
  -- Fails the script, which has written nothing so far.
  if not (counts.remaining and counts.held and counts.waiting and string.find(price or '', '^%d+$')
    and (counts.limit or not limit)) then
    error('the stock of ' .. sku .. ' is damaged')
  end
  stock[sku] = counts
end

function load_stock(skus)
  local missing, count = {}, 0
  for i = 1, #skus do
    if not stock[skus[i]] then
      count = count + 1
      missing[count] = skus[i]
    end
  end
  -- While no buyer has joined a waitlist of the sale, none waits for a SKU.
  local width = sale.tickets > 0 and 5 or 4
  for first = 1, count, SKUS_AT_ONCE do
    local last, from = math.min(first + SKUS_AT_ONCE - 1, count), names_size
    local at = from
    for i = first, last do
      local sku = missing[i]
      names[at + 1], names[at + 2], names[at + 3] = sku .. ':remaining', sku .. ':held', sku .. ':price'
      names[at + 4] = sku .. ':perBuyerLimit'
      if width == 5 then names[at + 5] = sku .. ':waiting' end
      at = at + width
    end
    names_size = at
    local values = call('HMGET', key_stock, unpack(names, from + 1, at))
    at = 0
    for i = first, last do
      add_counts(missing[i], from + at, values[at + 1], values[at + 2], values[at + 3], values[at + 4],
        width == 5 and values[at + 5])
      at = at + width
    end
  end
end

function write_stock()
  local written, size = {}, 0
  for sku, counts in pairs(stock) do
    if counts.is_moved then
      written[size + 1], written[size + 2] = names[counts.at + 1], number(counts.remaining)
      written[size + 3], written[size + 4] = names[counts.at + 2], number(counts.held)
      size = size + 4
    end
    for field in pairs(counts.changed or {}) do
      written[size + 1], written[size + 2] = sku .. ':' .. field, number(counts[field])
      size = size + 2
    end
  end
  if size > 0 then call('HSET', key_stock, unpack(written)) end
end
end

-- The counts of a basket's SKUs, which are loaded.
local function counts_of(basket)
  if not basket.counts then
    basket.counts = {}
    for i, sku in ipairs(basket.skus) do basket.counts[i] = stock[sku] end
  end
  return basket.counts
end

local function add_stock(sku, field, delta)
  local counts = stock[sku]
  counts[field] = (counts[field] or tonumber(call('HGET', key_stock, sku .. ':' .. field))) + delta
  if field == 'remaining' or field == 'held' then
    counts.is_moved = true
  else
    counts.changed = counts.changed or {}
    counts.changed[field] = true
  end
end

-- Moves the units of a basket, `times` times.
local function move_stock(basket, from, to, times)
  for i, counts in ipairs(counts_of(basket)) do
    add_stock(counts.sku, from, -basket.quantities[i] * times)
    add_stock(counts.sku, to, basket.quantities[i] * times)
  end
end

-- Moves the units of a basket from `remaining` to `held`: each purchase does so.
local function hold_stock(basket)
  local all, quantities = counts_of(basket), basket.quantities
  for i = 1, #all do
    local counts, units = all[i], quantities[i]
    counts.remaining, counts.held, counts.is_moved = counts.remaining - units, counts.held + units, true
  end
end
