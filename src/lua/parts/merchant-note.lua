-- What merchants' requests left of a reservation beside its record. Purchases do not read it, so it is in `past`, under
-- an empty buyer. The format is in domain/merchant-note.ts. One table, because a script has at most 200 local names.
--
-- EXPORTS  notes

local notes = {}

function notes.field(position) return '\t' .. position end

-- The payment of a confirmation, empty if it had none; nil: the note has no confirmation.
function notes.payment_in(note) return note and string.match(note, '^=([^\t]*)') end

-- Whether the reservation was cancelled and its units left the sale.
function notes.is_withdrawn(note) return note ~= nil and string.find(note, '\twithdrawn', 1, true) ~= nil end

function notes.withdrawn(note) return (note or '') .. '\twithdrawn' end

function notes.with_payment(note, payment)
  return '=' .. payment .. (note and string.match(note, '^[^\t]*(.*)$') or '')
end

-- A cancellation that named items.
local function format_part(items, restock, key) return items .. '/' .. (restock == '0' and '0' or '1') .. '/' .. key end

-- What an earlier cancellation that named items says about a request: repeated, key_reused, or nil. Without a key, the same
-- items and restock are a repetition.
function notes.earlier_part(note, items, restock, key)
  local wanted = format_part(items, restock, key)
  for part, own_key in string.gmatch(note or '', '\t([^\t/]+/[01]/([^\t]*))') do
    if part == wanted then return 'repeated' end
    if key ~= '' and own_key == key then return 'key_reused' end
  end
end

function notes.with_part(note, items, restock, key)
  return (note or '') .. '\t' .. format_part(items, restock, key)
end

-- The items of a record without a part. Nil: it lacks some of these units. False: nothing would be left.
function notes.without_part(items, part)
  local units_of_part, kept, is_left = {}, {}, false
  for sku, units in string.gmatch(part, '([^*,]+)%*(%d+)') do units_of_part[sku] = tonumber(units) end
  for sku, left, bought in string.gmatch(items, '([^*,/]+)%*(%d+)/?(%d*)') do
    local units = units_of_part[sku] or 0
    local rest = left - units
    if rest < 0 then return nil end
    if rest > 0 then is_left = true end
    if units > 0 and bought == '' then bought = left end
    kept[#kept + 1] = string.format('%s*%d', sku, rest) .. (bought == '' and '' or '/' .. bought)
    units_of_part[sku] = nil
  end
  if next(units_of_part) then return nil end
  return is_left and table.concat(kept, ',')
end
