-- Serves the waitlists of SKUs. The first waiting buyer whose quantity remains is served. Buyers who wait for more keep
-- their rank, and keep the units from nobody: see available.lua.
--
-- NEEDS    key_line_by_quantity key_waiting call number sale closed basket_of stock load_stock load_records
--          allowance_of sku_allowance_of buyer_texts summary_of_buyer lasting_of cool_down_end NO_TRACE short hold_basket is_indexed parse_indexed
--          quantity_prefix QUANTITY_MAX leave_waitlist has_left
-- EXPORTS  serve_waitlist

-- One call checks this many members and reads this many ranges, which keeps it short; the sweep serves the rest. A sale
-- has at most 100 SKUs and quantities, so each call makes progress.
local MEMBERS_MAX, READS_MAX = 100, 300
local members_left, reads_left = MEMBERS_MAX, READS_MAX

local function read_index(from, upto, most)
  reads_left = reads_left - 1
  return call('ZRANGEBYLEX', key_line_by_quantity, from, upto, 'LIMIT', 0, most)
end

local function read_waiters(from, upto, most)
  local waiters, fields = {}, {}
  for i, text in ipairs(read_index(from, upto, most)) do
    waiters[i] = parse_indexed(text)
    fields[i] = waiters[i].field
  end
  if #fields > 0 then
    -- A process of the previous version takes members out of the other keys only.
    for i, member in ipairs(call('HMGET', key_waiting, unpack(fields))) do
      waiters[i].is_stale = member ~= waiters[i].member
    end
  end
  return waiters
end

local function is_waiting(waiter) return not (waiter.is_stale or has_left[waiter.member]) end

-- One queue for each quantity up to `remaining` that somebody waits for. So members who wait for more cost nothing.
local function queues_of(sku, remaining)
  local queues = {}
  local most = math.min(remaining, QUANTITY_MAX)
  local from, upto = '[' .. sku .. '\t', '[' .. quantity_prefix(sku, most) .. '\255'
  local quantity = 0
  while quantity < most do
    local first = read_index(from, upto, 1)[1]
    if not first then break end
    quantity = parse_indexed(first).quantity
    local prefix = quantity_prefix(sku, quantity)
    queues[#queues + 1] = { quantity = quantity, from = '[' .. prefix, upto = '[' .. prefix .. '\255', waiters = {}, at = 1 }
    from = '(' .. prefix .. '\255'
  end
  for _, queue in ipairs(queues) do
    queue.page = math.min(math.ceil(MEMBERS_MAX / #queues), math.floor(remaining / queue.quantity))
  end
  return queues
end

local function head_of(queue)
  while true do
    if not queue.waiters[queue.at] then
      local waiters, buyers = read_waiters(queue.from, queue.upto, queue.page), {}
      if #waiters == 0 then return nil end
      for i, waiter in ipairs(waiters) do buyers[i] = waiter.buyer end
      load_records(buyers)
      queue.waiters, queue.at = waiters, 1
      queue.from = '(' .. waiters[#waiters].indexed_member
    end
    local waiter = queue.waiters[queue.at]
    if is_waiting(waiter) then return waiter end
    queue.at = queue.at + 1
  end
end

local function is_earlier(ticket, other)
  if #ticket ~= #other then return #ticket < #other end
  return ticket < other
end

-- Takes the first waiter for at most `remaining` units out of the queues; nil: there is none.
local function next_waiter(queues, remaining)
  local first, first_queue = nil, nil
  for _, queue in ipairs(queues) do
    if queue.quantity > remaining then break end
    local waiter = head_of(queue)
    if waiter and (not first or is_earlier(waiter.ticket, first.ticket)) then
      first, first_queue = waiter, queue
    end
  end
  if first then first_queue.at = first_queue.at + 1 end
  return first
end

-- A quantity above a limit can never be served. One above the loaded units can: units may be loaded later.
local function remove_impossible(sku)
  local possible = math.min(sale.limit, stock[sku].limit or sale.limit)
  if possible >= QUANTITY_MAX then return end
  local from, upto = '[' .. quantity_prefix(sku, possible + 1), '[' .. sku .. '\t\255'
  for _, waiter in ipairs(read_waiters(from, upto, members_left)) do
    members_left = members_left - 1
    if is_waiting(waiter) then leave_waitlist(waiter) end
  end
end

local function is_within_limits(waiter, known)
  local own = sku_allowance_of(known, waiter.sku)
  return waiter.quantity <= allowance_of(known) and not (own and waiter.quantity > own)
end

-- Returns true if more members could be served now, but this call has checked MEMBERS_MAX.
local function serve_sku(sku, tag)
  remove_impossible(sku)
  local counts = stock[sku]
  if counts.remaining <= 0 then return false end
  local queues = queues_of(sku, counts.remaining)
  while true do
    local waiter = next_waiter(queues, counts.remaining)
    if not waiter then return false end
    if members_left <= 0 then return true end
    members_left = members_left - 1
    local known = summary_of_buyer(waiter.buyer)
    local is_above = not is_within_limits(waiter, known)
    local stays_above = is_above and not is_within_limits(waiter, lasting_of(waiter.buyer))
    if stays_above or cool_down_end(known.cool_from) then
      leave_waitlist(waiter)
    elseif is_above then
      -- The limit allows the units once the sweep has ended a hold that is past its deadline. Until then nobody gets them.
      return false
    else
      leave_waitlist(waiter)
      -- The key contains a space, so no buyer can have sent it.
      local buyer, key, items = waiter.buyer, 'waitlist ' .. waiter.ticket, sku .. '*' .. number(waiter.quantity)
      hold_basket(basket_of(items), buyer, items, sale.waitlist_hold_ms, key, tag, short.line(buyer, key, 'waitlist', NO_TRACE),
        not buyer_texts[buyer])
    end
  end
end

-- Gives the remaining units of these SKUs to their waitlists. SKUs are served in their own order, so the same state always
-- leads to the same decisions. Returns true if more members could be served now.
local function serve_waitlist(skus, tag)
  if closed then return false end
  load_stock(skus)
  table.sort(skus)
  for _, sku in ipairs(skus) do
    local counts = stock[sku]
    if counts.remaining and counts.waiting > 0 then
      if not is_indexed() or members_left <= 0 or reads_left <= 0 then return true end
      if serve_sku(sku, tag) then return true end
    end
  end
  return false
end
