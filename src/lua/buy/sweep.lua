#!lua
-- Ends a bounded number of holds that are past their deadline, and serves the waitlist with what remains.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting
-- ARGV   fence most newTag
--        most  reservations checked by this call; newTag  of the reservations that the waitlist gets
-- REPLY  {word, expired, served, due, late, backlog}: swept; or unknown_sale recovering sale_ended (archived) with 0s
--        due  ms until the next sweep is needed: until the next deadline, or until a hold that is made from now on can be
--        due; 0: more are due now; -1: none can be due before an operator changes the sale
--        late  by how many ms the oldest ended hold is past its deadline; backlog  events that are not drained

--@include time sale stock record short-record buyer-index cool-down buyers limits changes available waitlist-member waitlist-changes waitlist waitlist-index

if refused then return { refused, 0, 0, 0, 0, 0 } end
local most = tonumber(arg_most)

-- Due holds, as ranges of positions.
local due = call('ZRANGEBYSCORE', key_holds, '-inf', number(now), 'WITHSCORES', 'LIMIT', 0, most)
local checked, more = 0, #due == 2 * most
local ranges = {}
for i = 1, #due, 2 do
  local member = due[i]
  local first, last = string.match(member, '^(%d+)%-(%d+)$')
  first, last = tonumber(first), tonumber(last)
  if checked >= most then
    more = true
    break
  end
  local upto = math.min(last, first + most - checked - 1)
  gone_holds[#gone_holds + 1] = member
  if upto < last then
    -- The rest of this batch keeps its deadline.
    new_holds[#new_holds + 1] = due[i + 1]
    new_holds[#new_holds + 1] = number(upto + 1) .. '-' .. number(last)
    more = true
  end
  ranges[#ranges + 1] = { first = first, upto = upto }
  checked = checked + upto - first + 1
end

-- Adjacent ranges are read together: finding an index in a long list costs more than reading there.
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
  for j, owner in ipairs(call('LRANGE', key_order, from, from + upto - first)) do
    if not positions_of[owner] then
      positions_of[owner] = {}
      buyers[#buyers + 1] = owner
    end
    local positions = positions_of[owner]
    positions[#positions + 1] = number(first + j - 1)
  end
  at = at + 1
end
load_records(buyers)

-- Units are returned once for each kind of basket. A damaged field keeps nobody else's holds.
local expired, late, baskets_ended = 0, 0, {}
for _, buyer in ipairs(buyers) do
  local is_read, records = pcall(records_at, buyer, positions_of[buyer])
  for _, text in ipairs(is_read and records or {}) do
    local record = parse_record(text)
    local is_hold = record.status == 'R' or record.status == 'P'
    -- An extended reservation has another deadline.
    if is_hold and record.expires <= now then
      change_status(buyer, record, 'E', record.expires, '', NO_TRACE)
      expired = expired + 1
      late = math.max(late, now - record.expires)
      local items = left_of(record.items)
      baskets_ended[items] = (baskets_ended[items] or 0) + 1
    end
  end
end

local returned, is_returned = {}, {}
local function add_returned(sku)
  if is_returned[sku] then return end
  is_returned[sku] = true
  returned[#returned + 1] = sku
end
for items in pairs(baskets_ended) do
  for _, sku in ipairs(basket_of(items).skus) do add_returned(sku) end
end
load_stock(returned)
for items, count in pairs(baskets_ended) do
  move_stock(basket_of(items), 'held', 'remaining', count)
end

-- The waitlist is served after all due holds have ended: a hold past its deadline must not count against its buyer's
-- limit. This also serves members whom a pause, a restock or the bound of another call has delayed.
if not closed and not more then
  local sku = next_sku('')
  while sku do
    add_returned(sku)
    sku = next_sku(sku)
  end
end
if not more then more = serve_waitlist(returned, arg_new_tag) end
local served = #order
write_waitlist()
write_changes()
if complete_index() then more = true end

local head = call('ZRANGE', key_holds, 0, 0, 'WITHSCORES')
local next_due = head[2] and math.max(0, head[2] - now) or -1
-- Not 0, which means that more is due now.
local hold_ms = math.max(1, math.min(sale.hold_ms, sale.waitlist_hold_ms))
if closed ~= 'sale_ended' and fields[2] ~= 'draft' and (next_due < 0 or next_due > hold_ms) then next_due = hold_ms end
-- The end is stored when it comes, see parts/sale.lua.
if not closed and fields[4] ~= '' then next_due = math.min(next_due, math.max(1, fields[4] - now)) end
if more then next_due = 0 end
return { 'swept', expired, served, next_due, late, sale.backlog + event_lines.count }
