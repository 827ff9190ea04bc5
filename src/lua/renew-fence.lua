#!lua
-- Opens a sale again on a server that has restarted, after its contents were found complete.
--
-- KEYS   sale events
-- ARGV   fence events checkpoint
--        events      number of the sale's last event that PostgreSQL has
--        checkpoint  id of the stream entry that PostgreSQL took last, or 0-0
-- REPLY  renewed, already, behind (this server knows less than PostgreSQL: it lost a tail), unknown_sale

local sale = redis.call('HMGET', KEYS[1], 'fence', 'events')
if not sale[1] then return 'unknown_sale' end
if sale[1] == ARGV[1] then return 'already' end
if tonumber(sale[2]) < tonumber(ARGV[2]) then return 'behind' end

-- Events are numbered without gaps, so equal numbers mean equal histories only if the stream also reaches as far.
if ARGV[3] ~= '0-0' then
  if redis.call('EXISTS', KEYS[2]) == 0 then return 'behind' end
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  local reached = nil
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then reached = info[i + 1] end
  end
  local function parts(id)
    local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
    return tonumber(ms), tonumber(sequence)
  end
  local have_ms, have_sequence = parts(reached)
  local want_ms, want_sequence = parts(ARGV[3])
  if have_ms < want_ms or (have_ms == want_ms and have_sequence < want_sequence) then return 'behind' end
end

redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return 'renewed'
