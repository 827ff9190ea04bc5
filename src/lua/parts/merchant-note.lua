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
