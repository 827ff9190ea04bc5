#!lua flags=allow-oom
-- Removes from a sale's stream what the group has acknowledged, which PostgreSQL therefore has, and stores how many
-- events are drained. `reserve` limits the backlog by that number.
--
-- KEYS   sale events
-- ARGV   fence group
-- REPLY  {unknown_sale} or {recovering} or {trimmed, entries removed, events drained in total, events in total}
--
-- Runs on a full Redis too: nothing else frees memory there.
-- Trims below the oldest pending entry; if none is pending, below the first undelivered one.

local sale = redis.call('HMGET', key_sale, 'fence', 'events')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= arg_fence then return { 'recovering' } end
local events = tonumber(sale[2])
if redis.call('EXISTS', key_events) == 0 then
  redis.call('HSET', key_sale, 'drained', sale[2])
  return { 'trimmed', 0, events, events }
end

local oldest = redis.call('XPENDING', key_events, arg_group)[2]
if not oldest then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key_events)) do
    local info = {}
    for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
    if info['name'] == arg_group then
      local ms, sequence = string.match(info['last-delivered-id'], '^(%d+)-(%d+)$')
      oldest = ms .. '-' .. string.format('%.0f', sequence + 1)
    end
  end
end
local removed = redis.call('XTRIM', key_events, 'MINID', oldest)

local drained = events
local first = redis.call('XRANGE', key_events, '-', '+', 'COUNT', 1)[1]
if first then
  for i = 1, #first[2], 2 do
    if first[2][i] == 's' then drained = first[2][i + 1] - 1 end
  end
end
redis.call('HSET', key_sale, 'drained', string.format('%.0f', drained))
return { 'trimmed', removed, drained, events }
