#!lua flags=allow-oom
-- Closes a sale until it has been recovered, as a restart of the server does, and tells whether what it has decided is
-- of the timeline that PostgreSQL is on; also on a full one. Where this server has no such sale, a mark takes its place:
-- whoever asks for the sale hears that it is being recovered, and that is all.
--
-- KEYS   sale
-- ARGV   fence closing timeline begunAfter
--        fence       not looked at: it may be closed or foreign
--        closing     names this closing; while the sale has it, nothing was decided since
--        timeline    the one that PostgreSQL is on
--        begunAfter  the closing that this was begun after; empty: none that counts
-- REPLY  closed, foreign (closed, but another line of decisions), forgotten (a mark is in its place)
--
-- A sale is of that timeline when it was opened on it; or was closed by the very recovery that began it and did not get
-- to open the sale, and then it takes the timeline on, for the name goes. Any other server may have gone on by itself.

--@include parts/promotion.lua

local sale = redis.call('HMGET', KEYS[1], 'fence', 'forgotten', 'timeline', 'closing')
if not sale[1] or sale[2] then
  -- No server has an empty run id, so every script that decides or shows anything sees a sale that is closed.
  redis.call('HSET', KEYS[1], 'fence', '', 'forgotten', '1', 'closing', ARGV[2])
  return 'forgotten'
end
redis.call('HSET', KEYS[1], 'fence', '', 'closing', ARGV[2])
note_promotion()
if (sale[3] or '0') == ARGV[3] then return 'closed' end
if ARGV[4] ~= '' and sale[4] == ARGV[4] then
  redis.call('HSET', KEYS[1], 'timeline', ARGV[3])
  return 'closed'
end
return 'foreign'
