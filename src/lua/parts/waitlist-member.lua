-- The waitlist's text formats and ranks. The counterpart in TypeScript is domain/waitlist.ts.
--
--   line            zset, all scores 0: `sku TAB ticket TAB buyer TAB quantity`, so Redis sorts it by SKU, then by ticket
--   lineByQuantity  zset, all scores 0: `sku TAB quantity TAB ticket TAB buyer`, sorted by SKU, quantity, ticket
--   waiting         hash: `buyer TAB sku` -> the member of `line`
--
-- NEEDS    key_line
-- EXPORTS  waiting_field new_waiter parse_member parse_indexed quantity_prefix QUANTITY_MAX rank_of

local function waiting_field(buyer, sku) return buyer .. '\t' .. sku end

-- Twelve digits. A longer number follows a letter for its length, because members are ordered as texts.
local function ticket_text(number)
  local digits = string.format('%012.0f', number)
  return #digits == 12 and digits or string.char(string.byte('a') + #digits - 13) .. digits
end

-- The largest quantity that the format of lineByQuantity sorts. Buyers can request 100.
local QUANTITY_MAX = 999

-- What the members of lineByQuantity with this quantity begin with.
local function quantity_prefix(sku, quantity) return sku .. '\t' .. string.format('%03d', quantity) .. '\t' end

local function waiter_of(member, sku, ticket, buyer, quantity)
  return { member = member, indexed_member = quantity_prefix(sku, quantity) .. ticket .. '\t' .. buyer,
    field = waiting_field(buyer, sku), sku = sku, ticket = ticket, buyer = buyer, quantity = quantity }
end

local function member_of(sku, ticket, buyer, quantity)
  return sku .. '\t' .. ticket .. '\t' .. buyer .. '\t' .. string.format('%d', quantity)
end

local function new_waiter(sku, number, buyer, quantity)
  local ticket = ticket_text(number)
  return waiter_of(member_of(sku, ticket, buyer, quantity), sku, ticket, buyer, quantity)
end

-- A member of `line`.
local function parse_member(member)
  local sku, ticket, buyer, quantity = string.match(member, '^([^\t]*)\t(%w+)\t([^\t]*)\t(%d+)$')
  return waiter_of(member, sku, ticket, buyer, tonumber(quantity))
end

-- A member of `lineByQuantity`.
local function parse_indexed(indexed)
  local sku, text, ticket, buyer = string.match(indexed, '^([^\t]*)\t(%d+)\t(%w+)\t([^\t]*)$')
  local quantity = tonumber(text)
  return waiter_of(member_of(sku, ticket, buyer, quantity), sku, ticket, buyer, quantity)
end

-- Counted from 1.
local function rank_of(sku, member) return redis.call('ZLEXCOUNT', key_line, '[' .. sku .. '\t', '[' .. member) end
