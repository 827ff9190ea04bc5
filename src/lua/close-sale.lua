#!lua flags=allow-oom
-- Closes a sale until it has been recovered, as a restart of the server does; also on a full one.
--
-- KEYS   sale
-- ARGV   fence closing
--        closing  names this closing; while the sale has it, nothing was decided since
-- REPLY  closed, unknown_sale

if redis.call('EXISTS', KEYS[1]) == 0 then return 'unknown_sale' end
redis.call('HSET', KEYS[1], 'fence', '', 'closing', ARGV[2])
return 'closed'
