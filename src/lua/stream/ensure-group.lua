#!lua flags=allow-oom
-- Makes the consumer group of a sale's stream, from the stream's beginning, and an empty stream where there is none.
-- Also on a full Redis: only who reads by this group can empty it.
--
-- KEYS   events
-- ARGV   fence group
--        fence  not looked at: a group decides nothing
-- REPLY  made, or already (it was there)

local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM')
if not made.err then return 'made' end
if string.find(made.err, 'BUSYGROUP', 1, true) then return 'already' end
return made
