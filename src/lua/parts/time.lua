-- The sale's time. It follows the clock of the Redis server but never goes back: not when that clock is set back, and not
-- on a promoted server whose clock is behind. See ADR 22. Two fields of the sale:
--
--   time   the newest time of the sale that a script has stored
--   ahead  by how many ms the sale's time is ahead of the server's clock; absent: 0
--
-- EXPORTS  now ahead set_time has_ended

-- After a step back of at most this length, the sale's time stands still until the clock has caught up. After a longer
-- one it goes on at its own pace: standing still, holds would last too long.
local STEP_MS_MAX = 1000

local now, ahead = 0, 0

-- Call it first, with both fields as they are stored.
local function set_time(stored_time, stored_ahead)
  local time = redis.call('TIME')
  local clock = time[1] * 1000 + math.floor(time[2] / 1000)
  local newest = tonumber(stored_time or 0) or 0
  now, ahead = clock, 0
  if clock >= newest then return end
  ahead = tonumber(stored_ahead or 0) or 0
  if newest - clock - ahead > STEP_MS_MAX then ahead = newest - clock end
  now = math.max(newest, clock + ahead)
end

-- A draft has no buyers yet, so its end may pass and still change.
local function has_ended(status, ends_at)
  return status == 'ended' or (status ~= 'draft' and ends_at ~= '' and now >= tonumber(ends_at))
end
