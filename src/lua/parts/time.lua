-- The sale's time, and whether a sale has ended at that time.
--
-- EXPORTS  now has_ended

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A draft has no buyers yet, so its end may pass and still change.
local function has_ended(status, ends_at)
  return status == 'ended' or (status ~= 'draft' and ends_at ~= '' and now >= tonumber(ends_at))
end
