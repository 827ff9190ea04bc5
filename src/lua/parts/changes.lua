-- What every script that changes a sale shares: it reads the sale, keeps each change in tables, and writes all of them
-- at the end with write_changes(). Until then nothing is written, so a script may still refuse.
--
-- Wants KEYS  sale stock buyers order holds events line waiting   and ARGV[1] the fence.
-- Gives sale (or refused: why nothing can be done), now, and the functions below.

local fields = redis.call('HMGET', KEYS[1], 'fence', 'status', 'startsAt', 'endsAt', 'perBuyerLimit', 'holdSeconds',
  'currency', 'position', 'events', 'drained', 'tickets')
local refused = nil
if not fields[1] then refused = 'unknown_sale'
elseif fields[1] ~= ARGV[1] then refused = 'recovering'
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sale = {
  status = fields[2],
  limit = tonumber(fields[5] or 0),
  hold_ms = tonumber(fields[6] or 0) * 1000,
  currency = fields[7],
  position = tonumber(fields[8] or 0),
  events = tonumber(fields[9] or 0),
  backlog = tonumber(fields[9] or 0) - tonumber(fields[10] or 0),
  tickets = tonumber(fields[11] or 0),
}
-- Why nobody new gets anything now, if so.
local closed = nil
if refused then closed = refused
elseif fields[2] == 'ended' or (fields[4] ~= '' and now >= tonumber(fields[4])) then closed = 'sale_ended'
elseif fields[2] == 'draft' or (fields[3] ~= '' and now < tonumber(fields[3])) then closed = 'sale_not_started'
elseif fields[2] == 'paused' then closed = 'sale_paused'
end

local function number(value) return string.format('%.0f', value) end

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

-- Stock: stock[sku] = { remaining, held, confirmed, waiting, price }; remaining is nil where the sale has no such SKU.
local STOCK_FIELDS = { 'remaining', 'held', 'confirmed', 'waiting' }
local stock = {}
local function load_stock(skus)
  local missing, wanted = {}, {}
  for _, sku in ipairs(skus) do
    if not stock[sku] then
      stock[sku] = { changed = {} }
      missing[#missing + 1] = sku
      for _, field in ipairs(STOCK_FIELDS) do wanted[#wanted + 1] = sku .. ':' .. field end
      wanted[#wanted + 1] = sku .. ':price'
    end
  end
  if #missing == 0 then return end
  local values = redis.call('HMGET', KEYS[2], unpack(wanted))
  for i, sku in ipairs(missing) do
    local at = (i - 1) * 5
    if values[at + 1] then
      local counts = stock[sku]
      for j, field in ipairs(STOCK_FIELDS) do counts[field] = tonumber(values[at + j] or 0) end
      counts.price = values[at + 5]
    end
  end
end

local function add_stock(sku, field, delta)
  local counts = stock[sku]
  counts[field] = counts[field] + delta
  counts.changed[field] = true
end

-- Records: records_of[buyer] = the buyer's records, separated by LF; '' for none.
local records_of, changed_buyers = {}, {}
local function load_records(buyers)
  local missing = {}
  for _, buyer in ipairs(buyers) do
    if not records_of[buyer] then
      records_of[buyer] = ''
      missing[#missing + 1] = buyer
    end
  end
  if #missing == 0 then return end
  local values = redis.call('HMGET', KEYS[3], unpack(missing))
  for i, buyer in ipairs(missing) do records_of[buyer] = values[i] or '' end
end

local is_changed = {}
local function set_records(buyer, records)
  records_of[buyer] = records
  if not is_changed[buyer] then
    is_changed[buyer] = true
    changed_buyers[#changed_buyers + 1] = buyer
  end
end

local RECORD = '^(%d+)\t(%a)\t(%d+)\t(%w+)\t([^\t]*)\t([^\t]*)\t(%d+)\t(%d+)\t([^\t]*)$'
local function parse_record(text)
  local version, status, position, tag, items, prices, reserved, expires, key = string.match(text, RECORD)
  return { text = text, version = tonumber(version), status = status, position = tonumber(position), tag = tag,
    items = items, prices = prices, reserved = reserved, expires = tonumber(expires), key = key }
end

local function lives(status) return status == 'R' or status == 'P' or status == 'C' end

-- What is written at the end.
local order, lines, new_holds, gone_holds, gone_waiting, came_waiting = {}, {}, {}, {}, {}, {}
local first_position = sale.position + 1

local function emit(record, buyer, detail, trace)
  lines[#lines + 1] = string.format('%s\t%s\t%s\t%s\t%s', record, buyer, number(now), detail, trace)
end

-- Reserves a basket that is known to be there. Stock and records must have been loaded.
local function give(buyer, items, key, tag, detail, trace)
  local prices = {}
  for i, line in ipairs(basket_of(items)) do
    add_stock(line.sku, 'remaining', -line.quantity)
    add_stock(line.sku, 'held', line.quantity)
    prices[i] = stock[line.sku].price
  end
  sale.position = sale.position + 1
  local record = string.format('1\tR\t%s\t%s\t%s\t%s\t%s\t%s\t%s', number(sale.position), tag, items,
    table.concat(prices, ','), number(now), number(now + sale.hold_ms), key)
  local records = records_of[buyer]
  set_records(buyer, records == '' and record or (records .. '\n' .. record))
  order[#order + 1] = buyer
  emit(record, buyer, detail, trace)
  return record
end

-- Puts another state in the place of a record.
local function replace(buyer, old, status, expires, detail, trace)
  local record = string.format('%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s', number(old.version + 1), status,
    number(old.position), old.tag, old.items, old.prices, old.reserved, number(expires), old.key)
  if records_of[buyer] == old.text then
    set_records(buyer, record)
  else
    local records = {}
    for text in string.gmatch(records_of[buyer], '[^\n]+') do
      records[#records + 1] = text == old.text and record or text
    end
    set_records(buyer, table.concat(records, '\n'))
  end
  emit(record, buyer, detail, trace)
  return record
end

-- Units of the buyer that count against the limit, and how many reservations have ended.
local function units_of(buyer)
  local units, ended = 0, 0
  for text in string.gmatch(records_of[buyer], '[^\n]+') do
    local status, items = string.match(text, '^%d+\t(%a)\t%d+\t%w+\t([^\t]*)')
    if lives(status) then units = units + basket_of(items).units else ended = ended + 1 end
  end
  return units, ended
end

local function write_changes()
  local stocks, records = {}, {}
  for sku, counts in pairs(stock) do
    for field in pairs(counts.changed) do
      stocks[#stocks + 1] = sku .. ':' .. field
      stocks[#stocks + 1] = number(counts[field])
    end
  end
  for _, buyer in ipairs(changed_buyers) do
    records[#records + 1] = buyer
    records[#records + 1] = records_of[buyer]
  end
  if #stocks > 0 then redis.call('HSET', KEYS[2], unpack(stocks)) end
  if #records > 0 then redis.call('HSET', KEYS[3], unpack(records)) end
  if #order > 0 then
    redis.call('RPUSH', KEYS[4], unpack(order))
    new_holds[#new_holds + 1] = number(now + sale.hold_ms)
    new_holds[#new_holds + 1] = number(first_position) .. '-' .. number(sale.position)
  end
  if #gone_holds > 0 then redis.call('ZREM', KEYS[5], unpack(gone_holds)) end
  if #new_holds > 0 then redis.call('ZADD', KEYS[5], unpack(new_holds)) end
  for _, each in ipairs(gone_waiting) do
    redis.call('ZREM', KEYS[7], each.member)
    redis.call('HDEL', KEYS[8], each.field)
  end
  for _, each in ipairs(came_waiting) do
    redis.call('ZADD', KEYS[7], '0', each.member)
    redis.call('HSET', KEYS[8], each.field, each.member)
  end
  local row = {}
  if #lines > 0 then
    local text = table.concat(lines, '\n')
    redis.call('XADD', KEYS[6], '*', 'v', '1', 's', number(sale.events + 1), 'c', sale.currency, 'd', text)
    redis.call('PUBLISH', KEYS[1] .. ':live', text)
    row = { 'position', number(sale.position), 'events', number(sale.events + #lines) }
  end
  if #came_waiting > 0 then
    row[#row + 1] = 'tickets'
    row[#row + 1] = number(sale.tickets)
  end
  if #row > 0 then redis.call('HSET', KEYS[1], unpack(row)) end
end
