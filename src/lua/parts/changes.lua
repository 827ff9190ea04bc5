-- What every script that changes a sale shares: it reads the sale, keeps each change in tables, and writes all of them
-- at the end with write_changes(). Until then nothing is written but the end of a fence that fell, so a script may still
-- refuse.
--
-- Wants KEYS  sale stock buyers order holds events line waiting   and ARGV[1] the fence.
-- Gives sale (or refused: why nothing can be done), now, and the functions below.
--
-- This runs on every call of the hottest script, so what a batch shares (times, prices, the rest of a record) is made
-- into text once, and functions that only some scripts want are in parts of their own.

--@include parts/promotion.lua

local call, format, concat = redis.call, string.format, table.concat

local fields = call('HMGET', KEYS[1], 'fence', 'status', 'startsAt', 'endsAt', 'perBuyerLimit', 'holdSeconds',
  'currency', 'position', 'events', 'drained', 'tickets', 'gaps')
local refused = nil
if not fields[1] then refused = 'unknown_sale'
elseif fields[1] ~= ARGV[1] then
  refused = 'recovering'
  -- For good: the server that it names could become the master again, without what it had decided last.
  if fields[1] ~= '' then
    call('HSET', KEYS[1], 'fence', '')
    note_promotion()
  end
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sale = {
  limit = tonumber(fields[5] or 0),
  hold_ms = tonumber(fields[6] or 0) * 1000,
  currency = fields[7],
  position = tonumber(fields[8] or 0),
  events = tonumber(fields[9] or 0),
  backlog = tonumber(fields[9] or 0) - tonumber(fields[10] or 0),
  tickets = tonumber(fields[11] or 0),
  gaps = fields[12],
}
-- Why nobody new gets anything now, if so.
local closed = nil
if refused then closed = refused
elseif fields[2] == 'ended' or (fields[4] ~= '' and now >= tonumber(fields[4])) then closed = 'sale_ended'
elseif fields[2] == 'draft' or (fields[3] ~= '' and now < tonumber(fields[3])) then closed = 'sale_not_started'
elseif fields[2] == 'paused' then closed = 'sale_paused'
end

local function number(value) return format('%d', value) end

-- Baskets: `sku*quantity,…` taken apart once each; most of a batch asks for the same.
local baskets = {}
local function basket_of(text)
  local basket = baskets[text]
  if not basket then
    basket = { units = 0 }
    for sku, quantity in string.gmatch(text, '([^*,]+)%*(%d+)') do
      quantity = tonumber(quantity)
      basket[#basket + 1] = { sku = sku, quantity = quantity }
      basket.units = basket.units + quantity
    end
    baskets[text] = basket
  end
  return basket
end

-- Stock: stock[sku] = { remaining, held, waiting, price }; remaining is nil where the sale has no such SKU. `confirmed`
-- decides nothing, so only a script that changes it reads it.
local stock = {}
-- Four values each: unpack() gives fewer than 8,000, and what buyers name need not be in the sale.
local SKUS_AT_ONCE = 1000
local function load_stock(skus)
  local missing = {}
  for _, sku in ipairs(skus) do
    if not stock[sku] then
      stock[sku] = {}
      missing[#missing + 1] = sku
    end
  end
  for first = 1, #missing, SKUS_AT_ONCE do
    local last, wanted = math.min(first + SKUS_AT_ONCE - 1, #missing), {}
    for i = first, last do
      local sku, at = missing[i], #wanted
      wanted[at + 1], wanted[at + 2] = sku .. ':remaining', sku .. ':held'
      wanted[at + 3], wanted[at + 4] = sku .. ':waiting', sku .. ':price'
    end
    local values = call('HMGET', KEYS[2], unpack(wanted))
    for i = first, last do
      local at = (i - first) * 4
      if values[at + 1] then
        local counts = stock[missing[i]]
        counts.remaining, counts.held = tonumber(values[at + 1]), tonumber(values[at + 2])
        counts.waiting, counts.price = tonumber(values[at + 3] or 0), values[at + 4]
      end
    end
  end
end

local function add_stock(sku, field, delta)
  local counts = stock[sku]
  local changed = counts.changed
  if not changed then
    changed = {}
    counts.changed = changed
  end
  counts[field] = (counts[field] or tonumber(call('HGET', KEYS[2], sku .. ':' .. field))) + delta
  changed[field] = true
end

-- Records: records_of[buyer] = the buyer's records, separated by LF; '' for none.
local records_of, changed_buyers = {}, {}
local function load_records(buyers)
  local missing = {}
  for _, buyer in ipairs(buyers) do
    if not records_of[buyer] then missing[#missing + 1] = buyer end
  end
  if #missing == 0 then return end
  local values = call('HMGET', KEYS[3], unpack(missing))
  for i, buyer in ipairs(missing) do records_of[buyer] = values[i] or '' end
end

-- Where a position stands in the order, from 0: positions may have gaps, see domain/positions.ts.
local function order_index(position)
  local left_out = 0
  for after, count in string.gmatch(sale.gaps or '', '(%d+):(%d+)') do
    left_out = left_out + math.max(0, math.min(tonumber(count), position - after))
  end
  return position - left_out - 1
end

local function lives(status) return status == 'R' or status == 'P' or status == 'C' end

-- What is written at the end.
local order, lines, new_holds, gone_holds, gone_waiting, came_waiting = {}, {}, {}, {}, {}, {}
local first_position = sale.position + 1

-- One line of history, see domain/reservation.ts.
local now_text
local function emit(record, buyer, detail, trace)
  now_text = now_text or number(now)
  lines[#lines + 1] = record .. '\t' .. buyer .. '\t' .. now_text .. '\t' .. detail .. '\t' .. trace
end

-- Reserves a basket that is known to be there. Stock and records must have been loaded.
local function give(buyer, items, key, tag, detail, trace)
  local basket = basket_of(items)
  for _, line in ipairs(basket) do
    add_stock(line.sku, 'remaining', -line.quantity)
    add_stock(line.sku, 'held', line.quantity)
  end
  if not basket.terms then
    -- What all records of this basket have in common, from the tag to the key. One call has one tag.
    local prices = {}
    for i, line in ipairs(basket) do prices[i] = stock[line.sku].price end
    local price = concat(prices, ',')
    basket.terms = '\t' .. tag .. '\t' .. items .. '\t' .. price .. '\t' .. number(now) .. '\t'
      .. number(now + sale.hold_ms) .. '\t'
    basket.told = 'reserved\t' .. price
  end
  sale.position = sale.position + 1
  local record = '1\tR\t' .. number(sale.position) .. basket.terms .. key
  local records = records_of[buyer]
  records_of[buyer] = records == '' and record or (records .. '\n' .. record)
  changed_buyers[buyer] = true
  order[#order + 1] = buyer
  emit(record, buyer, detail, trace)
  return record
end

-- Every reservation is remembered for good, so there has to be an end to how many one buyer makes.
local RESERVATIONS_MAX = 1000

-- Units of the buyer that count against the limit, how many reservations have ended, and units of holds that are over
-- and wait for the sweep.
local function units_of(buyer)
  local units, ended, overdue = 0, 0, 0
  for text in string.gmatch(records_of[buyer], '[^\n]+') do
    local status, items, expires = string.match(text, '^%d+\t(%a)\t%d+\t%w+\t([^\t]*)\t[^\t]*\t%d+\t(%d+)')
    if lives(status) then
      local own = basket_of(items).units
      units = units + own
      if status ~= 'C' and tonumber(expires) <= now then overdue = overdue + own end
    else
      ended = ended + 1
    end
  end
  return units, ended, overdue
end

local function write_changes()
  local counted = {}
  for sku, counts in pairs(stock) do
    for field in pairs(counts.changed or {}) do
      local at = #counted
      counted[at + 1], counted[at + 2] = sku .. ':' .. field, number(counts[field])
    end
  end
  if #counted > 0 then call('HSET', KEYS[2], unpack(counted)) end
  if next(changed_buyers) then
    local records = {}
    for buyer in pairs(changed_buyers) do
      local at = #records
      records[at + 1], records[at + 2] = buyer, records_of[buyer]
    end
    call('HSET', KEYS[3], unpack(records))
  end
  if #order > 0 then
    call('RPUSH', KEYS[4], unpack(order))
    new_holds[#new_holds + 1] = number(now + sale.hold_ms)
    new_holds[#new_holds + 1] = number(first_position) .. '-' .. number(sale.position)
  end
  if #gone_holds > 0 then call('ZREM', KEYS[5], unpack(gone_holds)) end
  -- GT: the rest of a batch may be one position that was extended, and then keeps its later deadline.
  if #new_holds > 0 then call('ZADD', KEYS[5], 'GT', unpack(new_holds)) end
  for _, each in ipairs(gone_waiting) do
    call('ZREM', KEYS[7], each.member)
    call('HDEL', KEYS[8], each.field)
  end
  for _, each in ipairs(came_waiting) do
    call('ZADD', KEYS[7], '0', each.member)
    call('HSET', KEYS[8], each.field, each.member)
  end
  if #came_waiting > 0 then call('HSET', KEYS[1], 'tickets', number(sale.tickets)) end
  if #lines > 0 then
    local text = concat(lines, '\n')
    call('XADD', KEYS[6], '*', 'v', '1', 's', number(sale.events + 1), 'c', sale.currency, 'd', text)
    call('HSET', KEYS[1], 'position', number(sale.position), 'events', number(sale.events + #lines))
    -- After all that counts, and by pcall: a hint that may not be given must not stop a decision half written.
    redis.pcall('PUBLISH', KEYS[1] .. ':live', text)
  end
end
