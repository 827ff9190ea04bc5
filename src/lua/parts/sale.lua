-- Reads the sale and the fence, for every script that changes a sale. Writes nothing, except that it closes a
-- sale which was opened on another server or cannot be read, and stores a time that must not be forgotten.
--
-- NEEDS    key_sale arg_fence now ahead set_time has_ended
-- EXPORTS  call concat fields number sale refused closed order_index

local call, format, concat = redis.call, string.format, table.concat

local fields = call('HMGET', key_sale, 'fence', 'status', 'startsAt', 'endsAt', 'perBuyerLimit', 'holdSeconds',
  'currency', 'position', 'events', 'drained', 'tickets', 'gaps', 'time',
  'ahead', 'waitlistHoldSeconds', 'hasShortRecords', 'timeline')
set_time(fields[13], fields[14])

-- examine-sale.ts finds all of this damaged too, and more: otherwise the sale would be opened as it is.
local function is_readable()
  local statuses = { draft = true, open = true, paused = true, ended = true }
  local function is_number(at) return fields[at] and string.find(fields[at], '^%-?%d+$') end
  for _, at in ipairs({ 5, 6, 8, 9, 10 }) do
    if not is_number(at) then return false end
  end
  if fields[3] ~= '' and not is_number(3) or fields[4] ~= '' and not is_number(4) then return false end
  for _, at in ipairs({ 11, 13, 14, 15 }) do
    if fields[at] and not is_number(at) then return false end
  end
  return statuses[fields[2]] and fields[7] and string.find(fields[7], '^%u%u%u$')
    and not string.find(fields[12] or '', '[^%d: ]')
end

-- Why the script can do nothing, or nil.
local refused = nil
if not fields[1] then refused = 'unknown_sale'
elseif fields[1] ~= arg_fence then
  -- The marker of an archived sale has no other fields.
  refused = fields[2] == 'archived' and 'sale_ended' or 'recovering'
elseif not is_readable() then refused = 'recovering'
end
-- Clears the fence. Otherwise the server that it names could return as master, lacking its last decisions, and sell on.
if refused == 'recovering' and fields[1] ~= '' then
  call('HSET', key_sale, 'fence', '', 'lastFence', fields[1])
  -- See close-sale.lua.
  if string.find(call('INFO', 'replication'), 'master_replid2:0*[1-9a-f]') then
    call('HSET', key_sale, 'wasPromoted', '1')
  end
end

local sale = {
  limit = tonumber(fields[5] or 0) or 0,
  -- Of purchases, and of reservations that the waitlist gives.
  hold_ms = (tonumber(fields[6] or 0) or 0) * 1000,
  waitlist_hold_ms = (tonumber(fields[15] or fields[6] or 0) or 0) * 1000,
  currency = fields[7],
  position = tonumber(fields[8] or 0) or 0,
  events = tonumber(fields[9] or 0) or 0,
  backlog = (tonumber(fields[9] or 0) or 0) - (tonumber(fields[10] or 0) or 0),
  tickets = tonumber(fields[11] or 0) or 0,
  gaps = fields[12],
  has_short_records = fields[16] == '1',
  timeline = fields[17] or '0',
}
-- Positions and events are exact up to 2^53. Before that the sale ends for buyers, with room left for transitions.
local NUMBER_MAX = 2 ^ 53 - 2 ^ 30
local is_used_up = sale.position >= NUMBER_MAX or sale.events >= NUMBER_MAX or sale.tickets >= NUMBER_MAX
-- Why nobody can get units now, or nil.
local closed = nil
if refused then closed = refused
elseif has_ended(fields[2], fields[4]) or is_used_up then closed = 'sale_ended'
elseif fields[2] == 'draft' or (fields[3] ~= '' and now < tonumber(fields[3])) then closed = 'sale_not_started'
elseif fields[2] == 'paused' then closed = 'sale_paused'
end

local function number(value) return format('%d', value) end

-- An end by time is stored once, so that no clock can withdraw it. Every other decision stores its time with its event.
-- While the sale's time is not the server's, it is stored about once a second.
if not refused then
  local newest = tonumber(fields[13] or 0) or 0
  if ahead ~= (tonumber(fields[14] or 0) or 0) or (ahead > 0 and now >= newest + 1000)
    or (has_ended(fields[2], fields[4]) and fields[2] ~= 'ended' and newest < tonumber(fields[4])) then
    call('HSET', key_sale, 'time', number(now), 'ahead', number(ahead))
  end
end

-- Index of a position in the order, from 0: positions may have gaps, see domain/positions.ts.
local function order_index(position)
  local left_out = 0
  for after, count in string.gmatch(sale.gaps or '', '(%d+):(%d+)') do
    left_out = left_out + math.max(0, math.min(tonumber(count), position - after))
  end
  return position - left_out - 1
end
