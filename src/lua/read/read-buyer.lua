#!lua flags=no-writes
-- Reads a buyer's reservations in a sale, and the buyer's ranks on its waitlists.
--
-- KEYS   sale buyers line waiting
-- ARGV   fence buyer
-- REPLY  {unknown_sale} or {recovering}
--        or {known, limit per buyer, currency, records, {sku, quantity, rank, …}}

--@include waitlist-member

local sale = redis.call('HMGET', key_sale, 'fence', 'perBuyerLimit', 'currency', 'skus')
if not sale[1] then return { 'unknown_sale' } end
if sale[1] ~= arg_fence then return { 'recovering' } end

local ranks = {}
if redis.call('EXISTS', key_waiting) == 1 then
  for _, each in ipairs(cjson.decode(sale[4])) do
    local member = redis.call('HGET', key_waiting, waiting_field(arg_buyer, each.sku))
    if member then
      ranks[#ranks + 1] = each.sku
      ranks[#ranks + 1] = parse_member(member).quantity
      ranks[#ranks + 1] = rank_of(each.sku, member)
    end
  end
end
return { 'known', tonumber(sale[2]), sale[3], redis.call('HGET', key_buyers, arg_buyer) or '', ranks }
