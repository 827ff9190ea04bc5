#!lua
-- Removes a buyer from every waitlist of a sale, and serves members that waited for this one.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting
-- ARGV   fence buyer newTag
--        newTag  of the reservations that the waitlist gets
-- REPLY  {word, waitlists left}: left, or unknown_sale recovering sale_ended (it is archived) with 0

--@include time sale stock record short-record buyer-index cool-down buyers limits changes available waitlist-member waitlist-changes waitlist

if refused then return { refused, 0 } end
local skus, waiting_fields = {}, {}
for i, each in ipairs(cjson.decode(call('HGET', key_sale, 'skus'))) do
  skus[i] = each.sku
  waiting_fields[i] = waiting_field(arg_buyer, each.sku)
end
local members = call('HMGET', key_waiting, unpack(waiting_fields))
local count = 0
for i, member in ipairs(members) do
  if member then
    load_stock({ skus[i] })
    leave_waitlist(parse_member(member))
    serve_waitlist({ skus[i] }, arg_new_tag)
    count = count + 1
  end
end
write_waitlist()
write_changes()
return { 'left', count }
