-- Baskets and the counts of SKUs.
--
-- NEEDS    key_stock call
-- EXPORTS  basket_of stock load_stock add_stock move_stock

-- {skus, quantities, units} of `sku*quantity,…`, parsed once each: most requests of a batch have the same basket. A pattern
-- would take four times as long for long names, and a table for each item a quarter more.
local baskets = {}
local function basket_of(text)
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
    basket = { skus = skus, quantities = quantities, units = units }
    baskets[text] = basket
  end
  return basket
end

-- stock[sku] = { remaining, held, waiting, price, limit, changed }; remaining is nil if the sale has no such SKU, and limit
-- if the SKU has none. `confirmed` decides nothing, so only add_stock reads it.
local stock = {}
-- Five values each: unpack() returns fewer than 8,000, and buyers may name SKUs that the sale does not have.
local SKUS_AT_ONCE = 1000
local function load_stock(skus)
  local missing = {}
  for _, sku in ipairs(skus) do
    if not stock[sku] then
      stock[sku] = { changed = {} }
      missing[#missing + 1] = sku
    end
  end
  for first = 1, #missing, SKUS_AT_ONCE do
    local last, names = math.min(first + SKUS_AT_ONCE - 1, #missing), {}
    for i = first, last do
      local sku, at = missing[i], #names
      names[at + 1], names[at + 2] = sku .. ':remaining', sku .. ':held'
      names[at + 3], names[at + 4] = sku .. ':waiting', sku .. ':price'
      names[at + 5] = sku .. ':perBuyerLimit'
    end
    local values = call('HMGET', key_stock, unpack(names))
    for i = first, last do
      local at = (i - first) * 5
      if values[at + 1] then
        local counts = stock[missing[i]]
        counts.remaining, counts.held = tonumber(values[at + 1]), tonumber(values[at + 2])
        counts.waiting, counts.price = tonumber(values[at + 3] or 0), values[at + 4]
        counts.limit = values[at + 5] and tonumber(values[at + 5]) or nil
        -- Fails the script, which has written nothing so far.
        if not (counts.remaining and counts.held and counts.waiting and string.find(counts.price or '', '^%d+$')
          and (counts.limit or not values[at + 5])) then
          error('the stock of ' .. missing[i] .. ' is damaged')
        end
      elseif values[at + 2] then error('the stock of ' .. missing[i] .. ' is damaged')
      end
    end
  end
end

local function add_stock(sku, field, delta)
  local counts = stock[sku]
  counts[field] = (counts[field] or tonumber(call('HGET', key_stock, sku .. ':' .. field))) + delta
  counts.changed[field] = true
end

-- Moves the units of a basket, `times` times.
local function move_stock(basket, from, to, times)
  local quantities = basket.quantities
  for i, sku in ipairs(basket.skus) do
    local counts, units = stock[sku], quantities[i] * times
    local before, after, changed = counts[from], counts[to], counts.changed
    if before and after then
      counts[from], counts[to], changed[from], changed[to] = before - units, after + units, true, true
    else
      add_stock(sku, from, -units)
      add_stock(sku, to, units)
    end
  end
end
