#!lua flags=allow-oom
-- Removes from a stream's consumer group who did nothing for long and has nothing. In one step: what one reads between
-- a look and its removal would be nobody's, neither pending nor new, and trimmed.
--
-- KEYS   events
-- ARGV   fence group minIdleMs kept
--        fence  not looked at: a group decides nothing
--        kept   a consumer that stays
-- REPLY  how many were removed; 0 also where the group is gone, for whoever reads next makes it again

local consumers, removed = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[2]), 0
if consumers.err then return 0 end
for _, consumer in ipairs(consumers) do
  local info = {}
  for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
  if info['name'] ~= ARGV[4] and info['pending'] == 0 and info['idle'] > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[2], info['name'])
    removed = removed + 1
  end
end
return removed
