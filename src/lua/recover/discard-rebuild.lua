#!lua flags=allow-oom
-- Frees what was staged of a rebuild that is given up; also on a full server, for that may be why. Whose it was stays
-- known: an older recovery that was frozen must not stage what has been read before.
--
-- KEYS   rebuild newBuyers newOrder newHolds newLine newWaiting
-- ARGV   fence timeline
-- REPLY  discarded, superseded (by a later recovery, which has freed it or uses the place)

local stage = redis.call('HMGET', KEYS[1], 'fence', 'timeline')
if stage[1] ~= ARGV[1] or stage[2] ~= ARGV[2] then return 'superseded' end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('HSET', KEYS[1], 'part', 0)
return 'discarded'
