#!lua
-- Ends the holds whose time is over, a bounded number, and serves those who wait for what remains.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence most newTag
--        most  reservations looked at by this call; newTag  for whoever is served next
-- REPLY  {word, expired, served, due}: swept, with the ms until the next deadline (0: more is due now, -1: none)
--        or {unknown_sale} {recovering}

--@include parts/changes.lua
--@include parts/line.lua

if refused then return { refused, 0, 0, 0 } end
local most = tonumber(ARGV[2])

local due = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', number(now), 'WITHSCORES', 'LIMIT', 0, 50)
local looked, more = 0, #due == 100
local positions, buyers = {}, {}
for i = 1, #due, 2 do
  local member = due[i]
  local first, last = string.match(member, '^(%d+)%-(%d+)$')
  first, last = tonumber(first), tonumber(last)
  if looked >= most then
    more = true
    break
  end
  local upto = math.min(last, first + most - looked - 1)
  gone_holds[#gone_holds + 1] = member
  if upto < last then
    -- The rest of this batch keeps its deadline.
    new_holds[#new_holds + 1] = due[i + 1]
    new_holds[#new_holds + 1] = number(upto + 1) .. '-' .. number(last)
    more = true
  end
  local owners = redis.call('LRANGE', KEYS[4], first - 1, upto - 1)
  for j, owner in ipairs(owners) do
    if owner ~= '' then
      positions[#positions + 1] = { position = first + j - 1, buyer = owner }
      buyers[#buyers + 1] = owner
    end
  end
  looked = looked + upto - first + 1
end
load_records(buyers)

local expired, returned, is_returned = 0, {}, {}
for _, each in ipairs(positions) do
  for text in string.gmatch(records_of[each.buyer], '[^\n]+') do
    local record = parse_record(text)
    if record.position == each.position and (record.status == 'R' or record.status == 'P') and record.expires <= now then
      local basket = basket_of(record.items)
      for _, line in ipairs(basket) do
        load_stock({ line.sku })
        add_stock(line.sku, 'held', -line.quantity)
        add_stock(line.sku, 'remaining', line.quantity)
        if not is_returned[line.sku] then
          is_returned[line.sku] = true
          returned[#returned + 1] = line.sku
        end
      end
      replace(each.buyer, record, 'E', record.expires, '', '\t')
      expired = expired + 1
    end
  end
end

-- The line is served when all that is due has ended: a hold that is over must not count against its buyer's limit.
-- Also served are those whose turn a pause, a restock or the bound of another call has put off.
if not closed and not more then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[7], 0, 0)) do
    local sku = parse_place(member).sku
    while sku do
      if not is_returned[sku] then
        is_returned[sku] = true
        returned[#returned + 1] = sku
      end
      local after = redis.call('ZRANGEBYLEX', KEYS[7], '(' .. sku .. '\t\255', '+', 'LIMIT', 0, 1)[1]
      sku = after and parse_place(after).sku
    end
  end
end
if not more then serve_line(returned, ARGV[3]) end
local served = #order
write_changes()

local next_due = -1
if more or served >= SERVED_MAX then
  next_due = 0
else
  local head = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
  if head[2] then next_due = math.max(0, head[2] - now) end
end
return { 'swept', expired, served, next_due }
