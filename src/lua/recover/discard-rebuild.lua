#!lua flags=allow-oom
-- Frees what a cancelled rebuild has staged. Runs on a full Redis too, since that may be the reason. The hash `rebuild`
-- keeps the owner: an older recovery that was frozen must not stage what it read earlier.
--
-- KEYS   rebuild newBuyers newPast newOrder newHolds newLine newWaiting
-- ARGV   fence timeline
-- REPLY  discarded, superseded (by a later recovery, which has freed or reused the keys)

local stage = redis.call('HMGET', key_rebuild, 'fence', 'timeline')
if stage[1] ~= arg_fence or stage[2] ~= arg_timeline then return 'superseded' end
redis.call('UNLINK', key_new_buyers, key_new_past, key_new_order, key_new_holds, key_new_line, key_new_waiting)
redis.call('HSET', key_rebuild, 'part', 0)
return 'discarded'
