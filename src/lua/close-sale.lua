#!lua flags=allow-oom
-- Closes a sale until it has been recovered, as a restart of the server does; also on a full one. Where this server has
-- no such sale, a mark takes its place: whoever asks for the sale hears that it is being recovered, and that is all.
--
-- KEYS   sale
-- ARGV   fence closing
--        closing  names this closing; while the sale has it, nothing was decided since
-- REPLY  closed, forgotten (a mark is in its place)

local sale = redis.call('HMGET', KEYS[1], 'fence', 'forgotten')
if not sale[1] or sale[2] then
  -- No server has an empty run id, so every script that decides or shows anything sees a sale that is closed.
  redis.call('HSET', KEYS[1], 'fence', '', 'forgotten', '1')
  return 'forgotten'
end
redis.call('HSET', KEYS[1], 'fence', '', 'closing', ARGV[2])
return 'closed'
