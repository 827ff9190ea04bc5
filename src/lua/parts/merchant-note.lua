-- What merchants' requests left of a reservation beside its record. Purchases do not read it, so it is in `past`, under
-- an empty buyer. The format is in domain/merchant-note.ts.
--
-- EXPORTS  note_field payment_in with_payment

local function note_field(position) return '\t' .. position end

-- The payment of a confirmation, empty if it had none; nil: the note has no confirmation.
local function payment_in(note) return note and string.match(note, '^=([^\t]*)') end

local function with_payment(note, payment)
  return '=' .. payment .. (note and string.match(note, '^[^\t]*(.*)$') or '')
end
