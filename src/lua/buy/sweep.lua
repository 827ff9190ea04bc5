#!lua
-- Ends the holds whose time is over, a bounded number, and serves those who wait for what remains.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence most newTag
--        most  reservations looked at by this call; newTag  for whoever is served next
-- REPLY  {word, expired, served, due, late}: swept, with the ms until the next deadline (0: more is due now, -1: none)
--        and by how many ms the oldest of those that ended was missed; or {unknown_sale} {recovering}

--@include parts/changes.lua
--@include parts/transitions.lua
--@include parts/waitlist.lua

if refused then return { refused, 0, 0, 0, 0 } end
local most = tonumber(ARGV[2])

-- Whose time is over, as ranges of positions.
local due = call('ZRANGEBYSCORE', KEYS[5], '-inf', number(now), 'WITHSCORES', 'LIMIT', 0, most)
local looked, more = 0, #due == 2 * most
local ranges = {}
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
  ranges[#ranges + 1] = { first = first, upto = upto }
  looked = looked + upto - first + 1
end

-- Ranges that touch are read together: finding a place in a long list costs more than reading it.
table.sort(ranges, function(a, b) return a.first < b.first end)
local buyers, positions_of = {}, {}
local at = 1
while ranges[at] do
  local first, upto = ranges[at].first, ranges[at].upto
  while ranges[at + 1] and ranges[at + 1].first <= upto + 1 do
    at = at + 1
    upto = math.max(upto, ranges[at].upto)
  end
  local from = order_index(first)
  for j, owner in ipairs(call('LRANGE', KEYS[4], from, from + upto - first)) do
    if not positions_of[owner] then
      positions_of[owner] = {}
      buyers[#buyers + 1] = owner
    end
    positions_of[owner][number(first + j - 1)] = true
  end
  at = at + 1
end
load_records(buyers)

-- A buyer's records are gone through once, however many of them end, and each kind of basket is returned once.
local expired, late, baskets_ended = 0, 0, {}
for _, buyer in ipairs(buyers) do
  local positions, records = positions_of[buyer], {}
  for text in string.gmatch(records_of[buyer], '[^\n]+') do
    local status, position = string.match(text, '^%d+\t(%a)\t(%d+)')
    if positions[position] and (status == 'R' or status == 'P') then
      local record = parse_record(text)
      -- One that was extended has another deadline by now.
      if record.expires <= now then
        text = succeed(buyer, record, 'E', record.expires, '', '\t')
        expired = expired + 1
        late = math.max(late, now - record.expires)
        baskets_ended[record.items] = (baskets_ended[record.items] or 0) + 1
      end
    end
    records[#records + 1] = text
  end
  records_of[buyer] = concat(records, '\n')
end

local returned, is_returned = {}, {}
for items in pairs(baskets_ended) do
  for _, line in ipairs(basket_of(items)) do
    if not is_returned[line.sku] then
      is_returned[line.sku] = true
      returned[#returned + 1] = line.sku
    end
  end
end
load_stock(returned)
for items, count in pairs(baskets_ended) do
  for _, line in ipairs(basket_of(items)) do
    add_stock(line.sku, 'held', -line.quantity * count)
    add_stock(line.sku, 'remaining', line.quantity * count)
  end
end

-- The line is served when all that is due has ended: a hold that is over must not count against its buyer's limit.
-- Also served are those whose turn a pause, a restock or the bound of another call has put off.
if not closed and not more then
  for _, member in ipairs(call('ZRANGE', KEYS[7], 0, 0)) do
    local sku = parse_place(member).sku
    while sku do
      if not is_returned[sku] then
        is_returned[sku] = true
        returned[#returned + 1] = sku
      end
      local after = call('ZRANGEBYLEX', KEYS[7], '(' .. sku .. '\t\255', '+', 'LIMIT', 0, 1)[1]
      sku = after and parse_place(after).sku
    end
  end
end
if not more then more = serve_line(returned, ARGV[3]) end
local served = #order
write_changes()

local next_due = -1
if more then
  next_due = 0
else
  local head = call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
  if head[2] then next_due = math.max(0, head[2] - now) end
end
return { 'swept', expired, served, next_due, late }
