-- Writes an operator's definition of a sale.
--
-- NEEDS    key_sale key_stock
-- EXPORTS  or_empty write_definition

-- A number as text; empty for null.
local function or_empty(value) return value == cjson.null and '' or string.format('%.0f', value) end

-- The limits of SKUs are beside their counts too, because purchases read them there.
local function write_sku_limits(skus)
  local limits, without = {}, {}
  for _, sku in ipairs(skus) do
    local field = sku.sku .. ':perBuyerLimit'
    if sku.perBuyerLimit then
      limits[#limits + 1] = field
      limits[#limits + 1] = string.format('%.0f', sku.perBuyerLimit)
    else
      without[#without + 1] = field
    end
  end
  if #limits > 0 then redis.call('HSET', key_stock, unpack(limits)) end
  if #without > 0 then redis.call('HDEL', key_stock, unpack(without)) end
end

-- Redis keeps a hash with up to 512 short values as a list, and searches it from its start: with 100 SKUs that took 40 % of
-- a large purchase. A value of more than 64 bytes makes it a hash table, which it stays without that value. After a restart
-- Redis may keep a list again, until this is called again.
local LONG_VALUE = string.rep('-', 65)
local function make_hash_table(key)
  redis.call('HSET', key, '', LONG_VALUE)
  redis.call('HDEL', key, '')
end

local function write_definition(definition)
  make_hash_table(key_stock)
  write_sku_limits(definition.skus)
  redis.call('HSET', key_sale,
    'name', definition.name,
    'currency', definition.currency,
    'status', definition.status,
    'startsAt', or_empty(definition.startsAt),
    'endsAt', or_empty(definition.endsAt),
    'perBuyerLimit', string.format('%.0f', definition.perBuyerLimit),
    'holdSeconds', string.format('%.0f', definition.holdSeconds),
    'skus', cjson.encode(definition.skus))
  if definition.waitlistHoldSeconds then
    redis.call('HSET', key_sale, 'waitlistHoldSeconds', string.format('%.0f', definition.waitlistHoldSeconds))
  else
    redis.call('HDEL', key_sale, 'waitlistHoldSeconds')
  end
end
