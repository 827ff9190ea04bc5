#!lua flags=no-writes
-- Reads what can be read of a sale that may be damaged.
--
-- KEYS   sale stock buyers past terms order holds events line lineByQuantity waiting
-- ARGV   fence
-- REPLY  {the server's clock in ms, {type, …} of the keys in their order, {field, value, …} of the sale, {field, value, …} of the stock};
--        a key of another type has no fields

local types = {}
for i, key in ipairs({ key_sale, key_stock, key_buyers, key_past, key_terms, key_order, key_holds, key_events, key_line,
  key_line_by_quantity, key_waiting }) do
  types[i] = redis.call('TYPE', key).ok
end
local function fields_of(key, type) return type == 'hash' and redis.call('HGETALL', key) or {} end
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
return { clock, types, fields_of(key_sale, types[1]), fields_of(key_stock, types[2]) }
