-- Collects the changes of a script in tables; write_changes() writes all of them at the end. Nothing is written before,
-- so a script can refuse until then.
--
-- This runs in every call of the hottest script, so texts that a batch shares (times, prices, terms) are made once.
--
-- NEEDS    key_sale key_buyers key_past key_terms key_order key_holds key_events order_index
--          call concat number now sale counts_of hold_stock add_first_record add_record replace_record write_buyers
--          record_tail new_record next_record add_event_line short
-- EXPORTS  order event_lines first_position format_version new_holds gone_holds holds_are_due hold_basket is_repeatable hold_again change_status
--          check_keys write_changes

-- order: the buyers of new reservations. event_lines: in pieces, see add_event_line(); `count` counts the lines. new_holds:
-- score, member, …; gone_holds: members.
local order, event_lines, new_holds, gone_holds = {}, { size = 0, count = 0 }, {}, {}
local first_position = sale.position + 1
-- Whether new reservations get short records. A sale with older reservations keeps whole records: processes of the previous
-- version may serve it too.
sale.has_short_records = sale.has_short_records or first_position == 1
-- Of the entry, see stream/entries.ts of the persister.
local format_version = '1'

-- A call makes purchases, or reservations for the waitlist, so all that it makes have one deadline.
local now_text, expires_text = number(now), nil

-- Whether holds past their deadline still keep units. Only the sweep may end them, because it serves the waitlist first.
local are_due = nil
local function holds_are_due()
  if are_due == nil then
    local head = call('ZRANGE', key_holds, 0, 0, 'WITHSCORES')
    are_due = head[2] ~= nil and tonumber(head[2]) <= now
  end
  return are_due
end

-- Reserves a basket. The caller has loaded stock and records, and has checked that the units are there.
local hold_basket, is_repeatable, hold_again
-- How many reservations this call makes.
local held = 0
do
local LAST_PLACE = short.LAST_PLACE
-- A table for each basket would take longer.
local prices = {}

-- `line`: see short.line(). `is_first`: the buyer has no records.
function hold_basket(basket, buyer, items, hold_ms, key, tag, line, is_first)
  hold_stock(basket)
  if not basket.tail then
    expires_text = expires_text or number(now + hold_ms)
    local all, count = counts_of(basket), #basket.quantities
    for i = 1, count do prices[i] = all[i].price end
    basket.prices = concat(prices, ',', 1, count)
    basket.reply = 'reserved\t' .. basket.prices
    basket.tail = record_tail(basket.prices, now_text, expires_text)
    if sale.has_short_records then
      if not short.batch then short.begin_batch(first_position, tag, now_text, expires_text) end
      basket.number = short.add_basket(items, basket.prices)
    end
  end
  local place = held
  held = place + 1
  order[held] = buyer
  if basket.number then
    local record = short.add(basket.number, key, line)
    -- A call that serves a waitlist can make more reservations than there are places.
    if is_first and place <= LAST_PLACE then return add_first_record(buyer, record) end
  end
  local position = number(first_position + place)
  local record = new_record(position, tag, items, basket.tail, key)
  add_record(buyer, record, position, basket.units, expires_text, key, items)
  if not basket.number then add_event_line(event_lines, record, buyer, now_text, short.cause_in(line)) end
end

-- Whether hold_again() can reserve this basket from now on. hold_basket() has reserved it for a buyer without records.
function is_repeatable(basket)
  local all = basket.counts
  return basket.number and #all == 1 and all[1].waiting == 0
end

-- The same as hold_basket() in a third of the steps, for another buyer without records: most purchases of a rush are like
-- that. Returns false if the units are not there.
function hold_again(basket, buyer, key, line)
  local counts, units, place = basket.counts[1], basket.units, held
  local remaining = counts.remaining - units
  if remaining < 0 or place > LAST_PLACE then return false end
  counts.remaining, counts.held = remaining, counts.held + units
  held = place + 1
  order[held] = buyer
  add_first_record(buyer, short.add(basket.number, key, line))
  return true
end
end

-- Replaces a parsed record by its next version, which it returns.
local function change_status(buyer, old, status, expires, detail, trace)
  -- A persister that knows only earlier formats cannot read these items.
  if string.find(old.items, '/', 1, true) then format_version = '3' end
  local record = next_record(old, status, expires)
  replace_record(buyer, old, record)
  add_event_line(event_lines, record, buyer, now_text, detail, trace)
  return record
end

-- A damaged key fails the script here, before the first write: a missing one, or one of another type.
local function check_keys()
  local is_order_missing, are_buyers_missing = not call('LINDEX', key_order, 0), call('EXISTS', key_buyers) == 0
  if (is_order_missing or are_buyers_missing) and order_index(first_position - 1) >= 0 then
    error('the order or the buyers are missing')
  end
  call('HGET', key_past, '')
  call('HLEN', key_terms)
  call('ZCARD', key_holds)
  call('XLEN', key_events)
end

-- Returns the length of the order, if it has grown.
local function write_changes()
  check_keys()
  write_stock()
  write_buyers()
  local order_length = nil
  if held > 0 then
    sale.position = sale.position + held
    order_length = call('RPUSH', key_order, unpack(order))
    new_holds[#new_holds + 1] = expires_text
    new_holds[#new_holds + 1] = number(first_position) .. '-' .. number(sale.position)
  end
  if #gone_holds > 0 then call('ZREM', key_holds, unpack(gone_holds)) end
  -- GT: the rest of a batch may be a single position that was extended, which keeps its later deadline.
  if #new_holds > 0 then call('ZADD', key_holds, 'GT', unpack(new_holds)) end
  if short.batch then event_lines.count = event_lines.count + held end
  if event_lines.count > 0 then
    local text = concat(event_lines)
    if short.batch then
      local terms = short.batch_terms()
      call('HSET', key_terms, short.batch.first, terms)
      text = short.event_text(text, terms)
      format_version = '4'
    end
    call('XADD', key_events, '*', 'v', format_version, 's', number(sale.events + 1), 'c', sale.currency, 'd', text)
    call('HSET', key_sale, 'position', number(sale.position), 'events', number(sale.events + event_lines.count),
      'time', now_text)
    if first_position == 1 and short.batch then call('HSET', key_sale, 'hasShortRecords', '1') end
    -- Last, and by pcall: a hint that Redis refuses must not stop a decision that is half written.
    redis.pcall('PUBLISH', key_sale .. ':live', text)
    -- Wakes the persisters: they do not poll a sale whose events are all drained. A busy sale always has a backlog.
    if sale.backlog == 0 then redis.pcall('PUBLISH', 'fs:work', string.match(key_sale, '{(.*)}')) end
  end
  return order_length
end
