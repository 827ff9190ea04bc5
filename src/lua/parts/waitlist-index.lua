-- Makes lineByQuantity from `line`, where it is missing: after a rebuild, or if a process of the previous version, which
-- does not write it, has changed the waitlist.
--
--   indexed   a field of the sale: lineByQuantity has the members up to this ticket. Other tickets than the last one: a
--             process that does not write it has added members since.
--   indexing  a field of the sale, while lineByQuantity is made: the last member of `line` that was copied
--
-- NEEDS    key_sale key_line key_line_by_quantity call number sale parse_member write_smallest_waiting
-- EXPORTS  next_sku complete_index

-- Takes about a millisecond.
local MEMBERS_AT_ONCE = 1000

-- The first SKU with a waitlist after this one; nil: there is none.
local function next_sku(sku)
  local member = call('ZRANGEBYLEX', key_line, '(' .. sku .. '\t\255', '+', 'LIMIT', 0, 1)[1]
  return member and parse_member(member).sku
end

-- Copies some members, if any are missing. Returns true if there are more.
local function complete_index()
  if sale.tickets == 0 then return false end
  local indexed, copied = unpack(call('HMGET', key_sale, 'indexed', 'indexing'))
  if not copied then
    local is_complete = tonumber(indexed or 0) == sale.tickets
      and call('ZCARD', key_line) == call('ZCARD', key_line_by_quantity)
    if is_complete then return false end
    call('UNLINK', key_line_by_quantity)
    call('HSET', key_sale, 'indexed', '-1')
  end
  local from = copied and '(' .. copied or '-'
  local members, scored = call('ZRANGEBYLEX', key_line, from, '+', 'LIMIT', 0, MEMBERS_AT_ONCE), {}
  for i, member in ipairs(members) do
    scored[2 * i - 1], scored[2 * i] = '0', parse_member(member).indexed_member
  end
  if #scored > 0 then call('ZADD', key_line_by_quantity, unpack(scored)) end
  if #members == MEMBERS_AT_ONCE then
    call('HSET', key_sale, 'indexing', members[#members])
    return true
  end
  local sku = next_sku('')
  while sku do
    write_smallest_waiting(sku)
    sku = next_sku(sku)
  end
  call('HDEL', key_sale, 'indexing')
  call('HSET', key_sale, 'indexed', number(sale.tickets))
  return false
end
