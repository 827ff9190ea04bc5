-- The short record of a new reservation: its place in its batch, and its key. What the reservations of a batch share, the
-- terms, is stored once, in a field of `terms`. A second reservation of the buyer, or a transition, writes the whole record.
-- The counterpart in TypeScript, domain/short-record.ts, documents both formats.
--
-- NEEDS    key_terms each_record record_tail new_record
-- EXPORTS  short

-- A table, because a script has at most 200 local names. `batch`: the one that this call makes.
local short = {}
do
local byte, char, match, sub = string.byte, string.char, string.match, string.sub
local A, P = byte('A'), byte('P')

-- terms[first] = { first, head, tag, reserved, expires, items, prices, tails }; the last three by basket. first: the first position
-- of the batch, in base 36. False: Redis does not have them.
local terms = {}
-- The field of the batch that this call makes.
local batch_first = nil

local function base36(value)
  local text = ''
  repeat
    local digit = value % 36
    text = char(digit < 10 and 48 + digit or 87 + digit) .. text
    value = (value - digit) / 36
  until value == 0
  return text
end

function short.is(text)
  local letter = byte(text)
  return letter ~= nil and letter >= A and letter <= P
end

local function new_terms(first, tag, reserved, expires)
  local own = { first = first, head = tag .. '\t' .. reserved .. '\t' .. expires, tag = tag, reserved = reserved, expires = expires,
    items = {}, prices = {}, tails = {} }
  terms[first] = own
  return own
end

local function add_basket(own, items, prices)
  local basket = #own.items + 1
  own.items[basket], own.prices[basket] = items, prices
  return basket
end

function short.begin_batch(first_position, tag, reserved, expires)
  batch_first = base36(first_position)
  short.batch = new_terms(batch_first, tag, reserved, expires)
end

-- The number of the basket.
function short.add_basket(items, prices) return add_basket(short.batch, items, prices) end

function short.batch_terms()
  local text = short.batch.head
  for i, items in ipairs(short.batch.items) do text = text .. '\t' .. items .. '\t' .. short.batch.prices[i] end
  return text
end

local function parse_terms(first, text)
  local tag, reserved, expires, at = match(text, '^(%w+)\t(%d+)\t(%d+)()')
  if not tag then return nil end
  local own = new_terms(first, tag, reserved, expires)
  for items, prices in string.gmatch(sub(text, at), '\t([^\t]+)\t([^\t]+)') do add_basket(own, items, prices) end
  return own
end

local function new_record_of(own, basket, position, key)
  own.tails[basket] = own.tails[basket] or record_tail(own.prices[basket], own.reserved, own.expires)
  return new_record(string.format('%.0f', position), own.tag, own.items[basket], own.tails[basket], key)
end

-- Loads the terms of the short records among these texts.
function short.load_terms(texts)
  local missing = {}
  for i = 1, #texts do
    local first = texts[i] and short.is(texts[i]) and match(texts[i], '^%u%u(%w+)')
    if first and terms[first] == nil then
      terms[first] = false
      missing[#missing + 1] = first
    end
  end
  if #missing == 0 then return end
  for i, text in ipairs(redis.call('HMGET', key_terms, unpack(missing))) do
    if text then parse_terms(missing[i], text) end
  end
end

-- The whole record. The terms are loaded; throws if they are missing or damaged.
function short.expand(text)
  local high, low, first, basket, at = match(text, '^(%u)(%u)(%w+)%.?(%d*)()')
  local own = first and terms[first]
  basket = basket == '' and 1 or tonumber(basket)
  if not own or not own.items[basket] then error('the terms of a batch are missing') end
  local position = tonumber(first, 36) + (byte(high) - A) * 16 + byte(low) - A
  return new_record_of(own, basket, position, sub(text, at + 1))
end

-- The whole event lines of one reservation in the text of an entry, each with its index there, from 0.
function short.event_lines_of(text, position, tag)
  local found, address = {}, '\t' .. position .. '\t' .. tag .. '\t'
  local index, first, own = 0, nil, nil
  for line in each_record(text) do
    if byte(line) == byte('=') then
      local shared
      first, shared = match(line, '^=(%w+)\t(.*)')
      own = shared and parse_terms(first, shared)
      if not own or own.tag ~= tag then return found end
      -- So that the next line is that of the place 0.
      first = tonumber(first, 36) - index
    else
      if not own and string.find(line, address, 1, true) then
        found[#found + 1] = { index = index, line = line }
      elseif own and first + index == tonumber(position) then
        local basket, buyer, key, rest = match(line, '^(%d*)\t([^\t]*)\t([^\t]*)\t(.*)')
        local record = new_record_of(own, basket == '' and 1 or tonumber(basket), position, key)
        found[#found + 1] = { index = index, line = table.concat({ record, buyer, own.reserved, rest }, '\t') }
      end
      index = index + 1
    end
  end
  return found
end

-- Two letters of a place, which counts from 0.
short.LAST_PLACE = 255
local letters = { 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P' }
-- The letters of the last place, and the number of its first one.
local high, high_letter, low = 0, '', 16
-- Their first element is for what stands before them.
local lines, size = { '' }, 1

-- The event line of a reservation for the first basket of its batch. `trace` is requestId TAB traceparent.
function short.line(buyer, key, detail, trace) return '\t' .. buyer .. '\t' .. key .. '\t' .. detail .. '\t' .. trace end

-- The detail and the trace in such a line.
function short.cause_in(line) return match(line, '^\t[^\t]*\t[^\t]*\t([^\t]*)\t(.*)') end

-- Adds a reservation of the batch to its event lines. Returns its short record. `line`: see short.line().
function short.add(basket, key, line)
  size, low = size + 1, low + 1
  if low > 16 then
    high, low = high + 1, 1
    high_letter = letters[high] or ''
  end
  if basket == 1 then
    lines[size] = line
    if key == '' then return high_letter .. letters[low] .. batch_first end
    return high_letter .. letters[low] .. batch_first .. ' ' .. key
  end
  lines[size] = basket .. line
  local record = high_letter .. letters[low] .. batch_first .. '.' .. basket
  return key == '' and record or record .. ' ' .. key
end

-- The text of an entry: the whole event lines, then those of the batch behind its terms.
function short.event_text(whole_lines, terms)
  lines[1] = (whole_lines == '' and '=' or whole_lines .. '\n=') .. short.batch.first .. '\t' .. terms
  return table.concat(lines, '\n')
end
end
