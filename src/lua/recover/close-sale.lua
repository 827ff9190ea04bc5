#!lua flags=allow-oom
-- Closes a sale until it has been recovered, as a restart of the server does, and returns whether its decisions belong to
-- the timeline that PostgreSQL is on. Runs on a full Redis too. If this server does not have the sale, the script writes
-- a placeholder instead: scripts then treat the sale as recovering. It works on whatever is there: a key that was replaced
-- by another type is removed, because no script could use it.
--
-- KEYS   sale events rebuild newBuyers newPast newOrder newHolds newLine newWaiting
-- ARGV   fence closing timeline begunAfter
--        fence       not compared: the sale may be closed, or open on another server
--        closing     the closing id of this recovery; while the sale has it, nothing has been decided since
--        timeline    the one that PostgreSQL is on
--        begunAfter  the closing id of the recovery that began that timeline; empty: there is none
-- REPLY  closed, foreign (closed, but on another timeline), forgotten (the placeholder was written)
--
-- A sale is on that timeline if it was opened on it. But a recovery may begin a timeline in PostgreSQL and die before it
-- opens the sale. The sale then still has that recovery's closing id, so nothing was decided since: it belongs to the new
-- timeline, which is written here. Any other server may have decided more on its own. The id may be an earlier one of those
-- since the sale was last open: the query that begins a timeline can reach PostgreSQL after its recovery has lost its locks
-- and another one has closed the sale.

-- The list has about twenty earlier closing ids.
local CLOSINGS_BYTES_MAX = 500

for key, type in pairs({ [key_sale] = 'hash', [key_events] = 'stream', [key_rebuild] = 'hash', [key_new_buyers] = 'hash',
  [key_new_past] = 'hash', [key_new_order] = 'list', [key_new_holds] = 'zset', [key_new_line] = 'zset',
  [key_new_waiting] = 'hash' }) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= type then redis.call('UNLINK', key) end
end

local sale = redis.call('HMGET', key_sale, 'fence', 'forgotten', 'timeline', 'closing', 'status', 'closings')
-- The marker of a sale that PostgreSQL does not know as archived: its database was restored from an earlier backup.
if sale[5] == 'archived' then redis.call('DEL', key_sale) end
if redis.call('EXISTS', key_sale) == 0 or sale[2] then
  -- No server has an empty run id, so every script that decides or reads treats the sale as closed.
  redis.call('HSET', key_sale, 'fence', '', 'forgotten', '1', 'closing', arg_closing)
  return 'forgotten'
end
if sale[1] and sale[1] ~= '' then redis.call('HSET', key_sale, 'lastFence', sale[1]) end
local closings = (sale[6] or '') .. ' ' .. (sale[4] or '') .. ' '
redis.call('HSET', key_sale, 'fence', '', 'closing', arg_closing, 'closings', string.sub(closings, -CLOSINGS_BYTES_MAX))
-- A promoted replica may lack the last decisions of its master. After a restart it no longer knows that it was one.
if string.find(redis.call('INFO', 'replication'), 'master_replid2:0*[1-9a-f]') then
  redis.call('HSET', key_sale, 'wasPromoted', '1')
end
if sale[3] == arg_timeline then return 'closed' end
if arg_begun_after ~= '' and (tonumber(sale[3]) or 0) < tonumber(arg_timeline)
  and string.find(closings, ' ' .. arg_begun_after .. ' ', 1, true) then
  redis.call('HSET', key_sale, 'timeline', arg_timeline)
  -- No recovery that closed the sale on the timeline before can begin another one. And that recovery may have opened the
  -- sale on another server.
  redis.call('HDEL', key_sale, 'closings', 'lastFence')
  return 'closed'
end
return 'foreign'
