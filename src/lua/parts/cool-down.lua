-- The cool-down: a buyer whose last ENDED_KEPT ended reservations are holds that were all reserved within the window gets
-- no new one until the oldest of them has left the window. It follows from the records alone, so a rebuild restores it. A
-- confirmed or extended reservation does not count.
--
-- NEEDS    now
-- EXPORTS  cool_down_end

local WINDOW_MS = 600000

-- When the cool-down of a buyer ends, in ms; nil: there is none. `cool_from` is when the oldest of those holds was made, or
-- 0, see buyer-index.lua.
local function cool_down_end(cool_from)
  if cool_from > 0 and cool_from + WINDOW_MS > now then return cool_from + WINDOW_MS end
end
