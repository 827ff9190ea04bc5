-- Collects the changes of the waitlist in tables; write_waitlist() writes them at the end.
--
-- NEEDS    key_sale key_stock key_line key_line_by_quantity key_waiting call number sale is_indexed add_stock
--          parse_indexed check_keys
-- EXPORTS  join_waitlist leave_waitlist has_left write_smallest_waiting write_waitlist

-- Waiters, see waitlist-member.lua. has_left[member]: the member leaves in this call.
local joined, left, has_left = {}, {}, {}

local function join_waitlist(waiter)
  joined[#joined + 1] = waiter
  add_stock(waiter.sku, 'waiting', 1)
end

local function leave_waitlist(waiter)
  left[#left + 1] = waiter
  has_left[waiter.member] = true
  add_stock(waiter.sku, 'waiting', -1)
end

-- The smallest quantity that anybody waits for; 0 if nobody waits.
local function write_smallest_waiting(sku)
  local first = call('ZRANGEBYLEX', key_line_by_quantity, '[' .. sku .. '\t', '[' .. sku .. '\t\255', 'LIMIT', 0, 1)[1]
  local smallest = first and parse_indexed(first).quantity or 0
  call('HSET', key_stock, sku .. ':smallestWaiting', number(smallest))
end

local function write_waitlist()
  if #left + #joined == 0 then return end
  -- A key of another type fails here.
  check_keys()
  call('ZCARD', key_line)
  call('ZCARD', key_line_by_quantity)
  call('HGET', key_waiting, '')
  local skus = {}
  for _, each in ipairs(left) do
    call('ZREM', key_line, each.member)
    call('ZREM', key_line_by_quantity, each.indexed_member)
    call('HDEL', key_waiting, each.field)
    skus[each.sku] = true
  end
  for _, each in ipairs(joined) do
    call('ZADD', key_line, '0', each.member)
    call('ZADD', key_line_by_quantity, '0', each.indexed_member)
    call('HSET', key_waiting, each.field, each.member)
    skus[each.sku] = true
  end
  if #joined > 0 then
    local tickets = number(sale.tickets)
    call('HSET', key_sale, 'tickets', tickets)
    if is_indexed() then call('HSET', key_sale, 'indexed', tickets) end
  end
  for sku in pairs(skus) do write_smallest_waiting(sku) end
end
