-- The records of buyers.
--
-- NEEDS    key_buyers call now basket_of each_record limits_and_key_of
-- EXPORTS  RESERVATIONS_MAX is_living records_of changed_buyers load_records units_of

-- A buyer's records are never removed, so their number must have a limit.
local RESERVATIONS_MAX = 1000

local function is_living(status) return status == 'R' or status == 'P' or status == 'C' end

-- records_of[buyer] = the buyer's records; '' for none.
local records_of, changed_buyers = {}, {}
local function load_records(buyers)
  local missing = {}
  for _, buyer in ipairs(buyers) do
    if not records_of[buyer] then missing[#missing + 1] = buyer end
  end
  if #missing == 0 then return end
  local values = call('HMGET', key_buyers, unpack(missing))
  for i, buyer in ipairs(missing) do records_of[buyer] = values[i] or '' end
end

-- Returns the buyer's units that count against the limit, the number of ended reservations, and the units of holds that
-- are past their deadline but not yet swept.
local function units_of(buyer)
  local units, ended, overdue = 0, 0, 0
  for text in each_record(records_of[buyer]) do
    local status, items, expires = limits_and_key_of(text)
    if is_living(status) then
      local own = basket_of(items).units
      units = units + own
      if status ~= 'C' and tonumber(expires) <= now then overdue = overdue + own end
    else
      ended = ended + 1
    end
  end
  return units, ended, overdue
end
