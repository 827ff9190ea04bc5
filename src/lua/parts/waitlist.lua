-- Serves the waitlist of a SKU in the order of joining. While anybody waits (<sku>:waiting is not 0), the SKU is sold
-- out for everybody else.
--
-- NEEDS    key_stock call number sale closed stock load_stock add_stock load_records records_of
--          LIVING_MAX summary_of_buyer overdue_of cool_down_end NO_TRACE left hold_basket parse_member members_from
-- EXPORTS  leave_waitlist serve_waitlist

-- Members checked by one call, which keeps it short; the sweep serves the rest.
local MEMBERS_MAX = 100

local function leave_waitlist(waiting)
  left[#left + 1] = waiting
  add_stock(waiting.sku, 'waiting', -1)
end

-- Gives the remaining units of these SKUs to their waitlists, strictly in order; `gone` is a member that leaves now.
--   The first member blocks all behind it if it waits for more units than remain, or if the buyer's limit allows them
--   only after the sweep has ended a hold that is past its deadline.
--   A member leaves unserved if the limit no longer allows its units, if its buyer is in a cool-down, or if the sale never
--   had that many units.
-- SKUs are served in their own order, so the same state always leads to the same decisions. Returns true if more members
-- could be served now, but this call has checked MEMBERS_MAX.
local function serve_waitlist(skus, tag, gone)
  if closed then return false end
  load_stock(skus)
  table.sort(skus)
  local checks = MEMBERS_MAX
  for _, sku in ipairs(skus) do
    local counts = stock[sku]
    local after, is_blocked = nil, false
    while counts.remaining and counts.remaining > 0 and counts.waiting > 0 and not is_blocked do
      if checks <= 0 then return true end
      -- Each member waits for at least one unit, so at most `remaining` members can be served. Only checked members
      -- count: those behind a blocked one must not use up the checks of other SKUs.
      local members = members_from(sku, after, math.min(checks, counts.remaining))
      if #members == 0 then break end
      local waiters, buyers = {}, {}
      for _, member in ipairs(members) do
        if member ~= gone then
          local waiter = parse_member(member)
          waiters[#waiters + 1] = waiter
          buyers[#buyers + 1] = waiter.buyer
        end
      end
      load_records(buyers)
      for _, waiter in ipairs(waiters) do
        if counts.remaining == 0 then break end
        checks = checks - 1
        local known = summary_of_buyer(waiter.buyer)
        local is_above = known.units + waiter.quantity > sale.limit or known.living >= LIVING_MAX
        local units, living = 0, 0
        if is_above then units, living = overdue_of(waiter.buyer) end
        local stays_above = known.units - units + waiter.quantity > sale.limit or known.living - living >= LIVING_MAX
        if stays_above or cool_down_end(records_of[waiter.buyer]) then
          leave_waitlist(waiter)
        elseif is_above then
          is_blocked = true
          break
        elseif counts.remaining >= waiter.quantity then
          leave_waitlist(waiter)
          -- The key contains a space, so no buyer can have sent it.
          hold_basket(waiter.buyer, sku .. '*' .. number(waiter.quantity), 'waitlist ' .. waiter.ticket, tag, 'waitlist',
            NO_TRACE)
        elseif waiter.quantity > tonumber(call('HGET', key_stock, sku .. ':loaded')) then
          leave_waitlist(waiter)
        else
          is_blocked = true
          break
        end
      end
      after = members[#members]
    end
  end
  return false
end
