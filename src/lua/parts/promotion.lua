-- Notes in a sale that closes whether this server was a replica once, for then it may lack what its master had decided
-- last, and once it has restarted it no longer knows.

local function note_promotion()
  local info = redis.call('INFO', 'replication')
  if string.find(string.match(info, 'master_replid2:(%x*)') or '', '[1-9a-f]') then
    redis.call('HSET', KEYS[1], 'wasPromoted', '1')
  end
end
