#!lua
-- Takes a buyer out of every line of a sale; whoever was kept waiting behind is served.
--
-- KEYS   sale stock buyers order holds events line waiting
-- ARGV   fence buyer newTag
-- REPLY  {word, lines left}: left, or unknown_sale recovering with 0

--@include parts/changes.lua
--@include parts/waitlist.lua

if refused then return { refused, 0 } end
local buyer, tag = ARGV[2], ARGV[3]
local skus, fields = {}, {}
for i, each in ipairs(cjson.decode(redis.call('HGET', KEYS[1], 'skus'))) do
  skus[i] = each.sku
  fields[i] = buyer .. '\t' .. each.sku
end
local members = redis.call('HMGET', KEYS[8], unpack(fields))
local count = 0
for i, member in ipairs(members) do
  if member then
    load_stock({ skus[i] })
    leave_line(parse_place(member))
    serve_line({ skus[i] }, tag, member)
    count = count + 1
  end
end
write_changes()
return { 'left', count }
