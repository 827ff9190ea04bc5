-- Records in a sale that closes whether this server was a replica before. It may then lack the last decisions of its
-- master, and after a restart it no longer knows.
--
-- NEEDS    key_sale
-- EXPORTS  note_promotion

local function note_promotion()
  local info = redis.call('INFO', 'replication')
  if string.find(string.match(info, 'master_replid2:(%x*)') or '', '[1-9a-f]') then
    redis.call('HSET', key_sale, 'wasPromoted', '1')
  end
end
