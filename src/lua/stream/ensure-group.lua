#!lua flags=allow-oom
-- Creates the consumer group of a sale's stream, from the stream's beginning, and the stream if there is none. Runs on a
-- full Redis too: only a consumer of this group can empty the stream.
--
-- KEYS   events
-- ARGV   fence group
--        fence  not compared: a group decides nothing
-- REPLY  made, or already (it existed)

local made = redis.pcall('XGROUP', 'CREATE', key_events, arg_group, '0', 'MKSTREAM')
if not made.err then return 'made' end
if string.find(made.err, 'BUSYGROUP', 1, true) then return 'already' end
return made
