-- The cool-down: a buyer whose last HOLDS_MAX ended holds were all reserved within the window gets no new one until the
-- oldest of them has left the window. It follows from the kept records alone, so a rebuild restores it. A confirmed or
-- extended reservation does not count.
--
-- NEEDS    now ended_hold_from_last RECORD_BYTES_MIN
-- EXPORTS  cool_down_end

-- Not above ENDED_KEPT of past.lua.
local HOLDS_MAX = 20
local WINDOW_MS = 600000

-- When the cool-down of a buyer with these records ends, in ms; nil: there is none.
local function cool_down_end(records)
  if #records < HOLDS_MAX * RECORD_BYTES_MIN then return nil end
  local reserved = ended_hold_from_last(records, HOLDS_MAX)
  if reserved and reserved + WINDOW_MS > now then return reserved + WINDOW_MS end
end
