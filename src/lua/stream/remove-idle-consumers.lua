#!lua flags=allow-oom
-- Removes consumers that are idle for long and have nothing pending from a stream's group. In one step: an entry that a
-- consumer reads between the check and its removal would be neither pending nor new, and would be trimmed unwritten.
--
-- KEYS   events
-- ARGV   fence group minIdleMs kept
--        fence  not compared: a group decides nothing
--        kept   a consumer that stays
-- REPLY  the number of removed consumers; 0 also if there is no group, since the next consumer creates it again

local consumers, removed = redis.pcall('XINFO', 'CONSUMERS', key_events, arg_group), 0
if consumers.err then return 0 end
for _, consumer in ipairs(consumers) do
  local info = {}
  for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
  if info['name'] ~= arg_kept and info['pending'] == 0 and info['idle'] > tonumber(arg_min_idle_ms) then
    redis.call('XGROUP', 'DELCONSUMER', key_events, arg_group, info['name'])
    removed = removed + 1
  end
end
return removed
