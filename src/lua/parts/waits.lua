-- What one buyer waits for.
--
-- NEEDS    key_waiting waiting_field parse_member rank_of
-- EXPORTS  waits_of

-- As sku, quantity, rank, …. `skus` is the JSON of the definition.
local function waits_of(buyer, skus)
  local waits = {}
  for _, each in ipairs(cjson.decode(skus)) do
    local member = redis.call('HGET', key_waiting, waiting_field(buyer, each.sku))
    if member then
      waits[#waits + 1] = each.sku
      waits[#waits + 1] = parse_member(member).quantity
      waits[#waits + 1] = rank_of(each.sku, member)
    end
  end
  return waits
end
