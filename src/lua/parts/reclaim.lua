-- Whether a merchant can still get the units of a hold that has expired: they are like those that any buyer could get now,
-- and count against the limit again.
--
-- NEEDS    concat number summary_of_buyer limit_above available_of holds_are_due
-- EXPORTS  refusal_of_reclaim

-- The reply's word and what follows it, see the header of transition.lua; nil: the units can be had.
local function refusal_of_reclaim(buyer, basket)
  local function refuse(word, ...)
    if holds_are_due() then return 'holds_due' end
    return word, ...
  end
  local limit, left, limited = limit_above(basket, summary_of_buyer(buyer))
  if limit then return refuse('limit_reached', number(limit), number(left), limited) end
  local available, words = {}, {}
  for i, sku in ipairs(basket.skus) do
    local units = available_of(sku)
    available[i] = number(units)
    if units <= 0 then words.sold_out = true elseif units < basket.quantities[i] then words.is_short = true end
  end
  if words.sold_out then return refuse('sold_out', concat(available, ',')) end
  if words.is_short then return refuse('insufficient_stock', concat(available, ',')) end
end
