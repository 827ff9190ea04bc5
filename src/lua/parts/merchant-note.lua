-- What merchants' requests left of a reservation beside its record. Purchases do not read it, so it is in `past`, under
-- an empty buyer. The format is in domain/merchant-note.ts.
--
-- EXPORTS  note_field payment_in with_payment is_withdrawn withdrawn_note

local function note_field(position) return '\t' .. position end

-- The payment of a confirmation, empty if it had none; nil: the note has no confirmation.
local function payment_in(note) return note and string.match(note, '^=([^\t]*)') end

-- Whether the reservation was cancelled and its units left the sale.
local function is_withdrawn(note) return note ~= nil and string.find(note, '\twithdrawn', 1, true) ~= nil end

local function withdrawn_note(note) return (note or '') .. '\twithdrawn' end

local function with_payment(note, payment)
  return '=' .. payment .. (note and string.match(note, '^[^\t]*(.*)$') or '')
end
