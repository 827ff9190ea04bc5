#!lua flags=allow-oom
-- Removes from a sale's stream what the group has acknowledged, that is, what PostgreSQL has, and writes down how
-- many events are out, by which `reserve` bounds the backlog.
--
-- KEYS   sale events
-- ARGV   fence group
-- REPLY  {unknown_sale} or {recovering} or {trimmed, entries removed, events drained so far}
--
-- Runs on a full Redis, too: nothing else makes room there.
-- Trims below the oldest entry that is still pending; where none is, below what was never delivered.

local sale = redis.call('HMGET', KEYS[1], 'fence', 'events')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= ARGV[1] then return { 'recovering' } end
if redis.call('EXISTS', KEYS[2]) == 0 then return { 'trimmed', 0, tonumber(sale[2]) } end

local oldest = redis.call('XPENDING', KEYS[2], ARGV[2])[2]
if not oldest then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
    local info = {}
    for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
    if info['name'] == ARGV[2] then
      local ms, sequence = string.match(info['last-delivered-id'], '^(%d+)-(%d+)$')
      oldest = ms .. '-' .. string.format('%.0f', sequence + 1)
    end
  end
end
local removed = redis.call('XTRIM', KEYS[2], 'MINID', oldest)

local drained = tonumber(sale[2])
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if first then
  for i = 1, #first[2], 2 do
    if first[2][i] == 's' then drained = first[2][i + 1] - 1 end
  end
end
redis.call('HSET', KEYS[1], 'drained', string.format('%.0f', drained))
return { 'trimmed', removed, drained }
