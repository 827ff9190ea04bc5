-- The keys that a rebuild stages beside the sale.
--
-- NEEDS    key_new_buyers key_new_order key_new_holds key_new_line key_new_waiting
-- EXPORTS  discard_staged

local function discard_staged()
  redis.call('UNLINK', key_new_buyers, key_new_order, key_new_holds, key_new_line, key_new_waiting)
end
