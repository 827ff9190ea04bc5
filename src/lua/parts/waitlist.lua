-- The line of those who wait for a SKU, in the order in which they joined. After parts/changes.lua.
--
--   line     zset, all scores 0: `sku TAB ticket TAB buyer TAB quantity`, so that its order is the line's
--   waiting  hash: `buyer TAB sku` -> the member above
--   <sku>:waiting  how many wait; while it isn't 0 the SKU is sold out for everybody else

-- At most so many places are looked at by one call, which keeps it short; the sweep serves the rest.
local PLACES_MAX = 100

-- The line of a SKU from a bound on: `[` includes it, `(` is behind it.
local function line_of(sku, from, most)
  return redis.call('ZRANGEBYLEX', KEYS[7], from, '[' .. sku .. '\t\255', 'LIMIT', 0, most)
end

local function parse_place(member)
  local sku, ticket, buyer, quantity = string.match(member, '^([^\t]*)\t(%d+)\t([^\t]*)\t(%d+)$')
  return { member = member, field = buyer .. '\t' .. sku, sku = sku, ticket = ticket, buyer = buyer,
    quantity = tonumber(quantity) }
end

local function leave_line(place)
  gone_waiting[#gone_waiting + 1] = place
  add_stock(place.sku, 'waiting', -1)
end

-- Gives what remains of these SKUs to those who wait for them, strictly in order: whoever is first and wants more
-- than there is keeps everybody behind waiting, and so does whoever may have so many only when the sweep, which is
-- about to, has ended a hold that is over. Who may no longer have so many, or wants more than the sale still has, sold
-- or not, is passed over and leaves. Several SKUs are served in their own order, so that the same state always leads to
-- the same decisions. True: others may be served now, and were not for the bound.
local function serve_line(skus, tag, gone)
  if closed then return false end
  load_stock(skus)
  table.sort(skus)
  local left = PLACES_MAX
  for _, sku in ipairs(skus) do
    local counts = stock[sku]
    local from, is_blocked = '[' .. sku .. '\t', false
    while counts.remaining and counts.remaining > 0 and counts.waiting > 0 and not is_blocked do
      if left <= 0 then return true end
      -- Everybody wants one at least, so no more than remain can be served. Only who is looked at counts: those behind
      -- a first who has to wait must not use up the turn of other SKUs.
      local members = line_of(sku, from, math.min(left, counts.remaining))
      if #members == 0 then break end
      local places, buyers = {}, {}
      for _, member in ipairs(members) do
        local place = parse_place(member)
        if member ~= gone then
          places[#places + 1] = place
          buyers[#buyers + 1] = place.buyer
        end
      end
      load_records(buyers)
      for _, place in ipairs(places) do
        if counts.remaining == 0 then break end
        left = left - 1
        local units, _, overdue = units_of(place.buyer)
        if units - overdue + place.quantity > sale.limit then
          leave_line(place)
        elseif units + place.quantity > sale.limit then
          is_blocked = true
          break
        elseif counts.remaining >= place.quantity then
          leave_line(place)
          -- The key has a space in it, so no buyer can have sent it.
          give(place.buyer, sku .. '*' .. number(place.quantity), 'waitlist ' .. place.ticket, tag, 'waitlist', '\t')
        elseif place.quantity > tonumber(redis.call('HGET', KEYS[2], sku .. ':loaded')) then
          leave_line(place)
        else
          is_blocked = true
          break
        end
      end
      from = '(' .. members[#members]
    end
  end
  return false
end
