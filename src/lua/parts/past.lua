-- Keeps a buyer's field short: it has the living records and the ENDED_KEPT ended ones with the highest positions. The
-- other ended records are in `past`, each under its buyer and position. A buyer's key leads to the position, so a
-- repeated request finds its reservation, however long ago that ended.
--
-- NEEDS    each_record join_records is_living_record position_and_key_of RECORD_BYTES_MIN
-- EXPORTS  ENDED_KEPT past_field past_key_field is_short split_past

local ENDED_KEPT = 20

local function past_field(buyer, position) return buyer .. '\t' .. position end

local function past_key_field(buyer, key) return buyer .. '\t\t' .. key end

-- True: there is surely nothing to move.
local function is_short(records) return #records < (ENDED_KEPT + 1) * RECORD_BYTES_MIN end

-- Returns the records that stay, and adds at most `most` others to `past`, the ones with the lowest positions first. The
-- second result is their number.
local function split_past(buyer, records, past, most)
  local ended = 0
  for text in each_record(records) do
    if not is_living_record(text) then ended = ended + 1 end
  end
  local surplus, moved, kept = math.min(ended - ENDED_KEPT, most), 0, {}
  if surplus <= 0 then return records, 0 end
  for text in each_record(records) do
    local position, key = nil, nil
    if moved < surplus and not is_living_record(text) then position, key = position_and_key_of(text) end
    if position then
      past[past_field(buyer, position)] = text
      -- Nobody can send the waitlist's key, which has a space.
      if key ~= '' and not string.find(key, ' ', 1, true) then past[past_key_field(buyer, key)] = position end
      moved = moved + 1
    else
      kept[#kept + 1] = text
    end
  end
  return join_records(kept), moved
end
