-- Sends requests that are built before the clock starts: building strings in `request` would be slower than the engine.
--
-- ARGS  file      one line per request, `token TAB key`: the parts that differ
--       first     the first line to use, from 1
--       again     `again`: start over at the end of the file; `once`: set `exhausted` there
--       template  the whole request, with {token} and {key}; several, separated by form feeds, take the lines in turn
--       pace      requests per second over all connections, at a fixed rate; 0: as fast as responses come
--
-- Prints one line of JSON at the end. With several threads, `sent` is that of one thread.

local ready, next_at, last, may_repeat = {}, 0, 0, false
sent, exhausted, cpu_at_start, request_bytes = 0, false, 0, 0

-- User and system time of this process, in kernel ticks (1/100 s).
local function cpu_ticks()
  local file = assert(io.open('/proc/self/stat'))
  local line = file:read('*a')
  file:close()
  local rest, values = line:match('^.*%)%s(.*)$'), {}
  for value in rest:gmatch('%S+') do values[#values + 1] = value end
  return values[12] + values[13]
end

-- A fixed rate. Late requests go out as soon as a connection is free.
local function pace_by(per_second)
  local ffi = require('ffi')
  ffi.cdef('typedef struct { long s; long ns; } moment; int clock_gettime(int clock, moment *now);')
  local CLOCK_MONOTONIC, now, due_ms = 1, ffi.new('moment'), 0
  function delay()
    ffi.C.clock_gettime(CLOCK_MONOTONIC, now)
    local now_ms = tonumber(now.s) * 1e3 + tonumber(now.ns) / 1e6
    if due_ms == 0 then due_ms = now_ms end
    due_ms = due_ms + 1e3 / per_second
    return math.max(0, math.floor(due_ms - now_ms))
  end
end

function init(args)
  local templates = {}
  for template in args[4]:gmatch('[^\f]+') do
    local head, between, tail = template:match('^(.*){token}(.*){key}(.*)$')
    templates[#templates + 1] = { head = head, between = between, tail = tail }
  end
  local number, first, bytes = 0, tonumber(args[2]), 0
  for line in io.lines(args[1]) do
    number = number + 1
    if number >= first then
      local at = line:find('\t', 1, true)
      local of = templates[#ready % #templates + 1]
      local request = of.head .. line:sub(1, at - 1) .. of.between .. line:sub(at + 1) .. of.tail
      ready[#ready + 1] = request
      bytes = bytes + #request
    end
  end
  last, may_repeat, request_bytes = #ready, args[3] == 'again', bytes / #ready
  if tonumber(args[5]) > 0 then pace_by(tonumber(args[5])) end
  collectgarbage()
  collectgarbage('stop')
  cpu_at_start = cpu_ticks()
end

function request()
  if next_at == last then
    next_at = 0
    if not may_repeat then exhausted = true end
  end
  next_at, sent = next_at + 1, sent + 1
  return ready[next_at]
end

local first
function setup(thread)
  first = first or thread
end

function done(summary, latency)
  local curve = {}
  for _, share in ipairs({ 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100 }) do
    curve[#curve + 1] = ('[%g,%d]'):format(share, latency:percentile(share))
  end
  print(
    ('{"requests":%d,"durationUs":%d,"bytes":%d,"refused":%d,"broken":%d,"sent":%d,"exhausted":%s,"cpuTicks":%d,"requestBytes":%.1f,"latencyUs":[%s]}'):format(
      summary.requests,
      summary.duration,
      summary.bytes,
      summary.errors.status,
      summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
      first:get('sent'),
      tostring(first:get('exhausted')),
      cpu_ticks() - first:get('cpu_at_start'),
      first:get('request_bytes'),
      table.concat(curve, ',')
    )
  )
end
