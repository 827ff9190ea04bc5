-- What the limits still allow a buyer: the sale's, over all SKUs, those of SKUs, and the one of living reservations.
-- `known` is a summary of the buyer's records, see record.lua; nil: the buyer has none.
--
-- NEEDS    sale stock basket_of counts_of held_of LIVING_MAX
-- EXPORTS  allowance_of sku_allowance_of limit_above

-- Units, whatever their SKU. Negative if the limit was lowered.
local function allowance_of(known)
  if not known then return sale.limit end
  return known.living < LIVING_MAX and sale.limit - known.units or 0
end

-- Units by the SKU's own limit; nil: it has none. Only such a SKU makes the units be counted, once for all SKUs.
local function sku_allowance_of(known, sku)
  local limit = stock[sku].limit
  if not limit or not known then return limit end
  if not known.units_of then
    known.units_of = {}
    for _, items in ipairs(held_of(known)) do
      local basket = basket_of(items)
      for i, own in ipairs(basket.skus) do
        known.units_of[own] = (known.units_of[own] or 0) + basket.quantities[i]
      end
    end
  end
  return limit - (known.units_of[sku] or 0)
end

-- The limit that a basket exceeds, one of a SKU before the one of the sale: the limit, the units that it still allows, and
-- the SKU, or an empty text. Nil: it exceeds none.
local function limit_above(basket, known)
  local allowance = allowance_of(known)
  local all = counts_of(basket)
  for i = 1, #all do
    local counts = all[i]
    local own = counts.limit and sku_allowance_of(known, counts.sku)
    if own and basket.quantities[i] > own then
      return counts.limit, math.max(0, math.min(own, allowance)), counts.sku
    end
  end
  if basket.units > allowance then return sale.limit, math.max(0, allowance), '' end
end
