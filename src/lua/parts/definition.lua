-- Writes an operator's definition of a sale.
--
-- NEEDS    key_sale
-- EXPORTS  or_empty write_definition

-- A number as text; empty for null.
local function or_empty(value) return value == cjson.null and '' or string.format('%.0f', value) end

local function write_definition(definition)
  redis.call('HSET', key_sale,
    'name', definition.name,
    'currency', definition.currency,
    'status', definition.status,
    'startsAt', or_empty(definition.startsAt),
    'endsAt', or_empty(definition.endsAt),
    'perBuyerLimit', string.format('%.0f', definition.perBuyerLimit),
    'holdSeconds', string.format('%.0f', definition.holdSeconds),
    'skus', cjson.encode(definition.skus))
end
