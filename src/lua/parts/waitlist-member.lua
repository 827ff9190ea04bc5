-- The waitlist's text formats and ranks. The counterpart in TypeScript is domain/waitlist.ts.
--
--   line     zset, all scores 0: `sku TAB ticket TAB buyer TAB quantity`, so Redis sorts it by SKU, then by ticket
--   waiting  hash: `buyer TAB sku` -> the member above
--
-- NEEDS    key_line
-- EXPORTS  waiting_field new_member parse_member rank_of members_from next_sku

local function waiting_field(buyer, sku) return buyer .. '\t' .. sku end

local function new_member(sku, ticket, buyer, quantity)
  return sku .. '\t' .. string.format('%012.0f', ticket) .. '\t' .. buyer .. '\t' .. string.format('%d', quantity)
end

local function parse_member(member)
  local sku, ticket, buyer, quantity = string.match(member, '^([^\t]*)\t(%d+)\t([^\t]*)\t(%d+)$')
  return { member = member, field = waiting_field(buyer, sku), sku = sku, ticket = ticket, buyer = buyer,
    quantity = tonumber(quantity) }
end

-- Counted from 1.
local function rank_of(sku, member) return redis.call('ZLEXCOUNT', key_line, '[' .. sku .. '\t', '[' .. member) end

-- At most `most` members of a SKU's waitlist: those after the member `after`, or from the first if it is nil.
local function members_from(sku, after, most)
  local from = after and '(' .. after or '[' .. sku .. '\t'
  return redis.call('ZRANGEBYLEX', key_line, from, '[' .. sku .. '\t\255', 'LIMIT', 0, most)
end

-- The first SKU with a waitlist after this one; nil: there is none.
local function next_sku(sku)
  local member = redis.call('ZRANGEBYLEX', key_line, '(' .. sku .. '\t\255', '+', 'LIMIT', 0, 1)[1]
  return member and parse_member(member).sku
end
