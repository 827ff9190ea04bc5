-- The units of a SKU that a buyer who is not on the waitlist can get.
--
-- NEEDS    key_sale key_stock call sale stock
-- EXPORTS  available_of is_indexed

local tickets_before, indexed = sale.tickets, nil
-- Whether lineByQuantity had every member of the waitlist when this script began, see waitlist-index.lua.
local function is_indexed()
  indexed = indexed or tonumber(call('HGET', key_sale, 'indexed') or 0)
  return indexed == tickets_before
end

-- All that remain, or none while a buyer on the waitlist waits for as many or fewer: those are served first.
local function available_of(sku)
  local counts = stock[sku]
  if counts.waiting == 0 or counts.remaining <= 0 then return counts.remaining end
  if not counts.smallest_waiting then
    counts.smallest_waiting = is_indexed() and tonumber(call('HGET', key_stock, sku .. ':smallestWaiting') or 0) or 0
  end
  return counts.remaining < counts.smallest_waiting and counts.remaining or 0
end
