-- KEYS[3]: the claim, KEYS[4]: ids of this batch, KEYS[5]: ids that may come again.
-- ARGV[2]: the caller's claim, [3]: prefix of histories, [4]: prefix of channels, [5]: events that a
-- history keeps, [6]: milliseconds that it is kept; then for each event its outbox id, its JSON, the
-- number of its channels, and they. One message per channel: the epoch, and a line for each event.
-- One that Redis refuses is left out, and so is what comes after it on the same channels.
-- Returns the ids of those that were published now, of those refused each with the error, and of those
-- that wait behind them; nil when the claim is void.
if redis.call('GET', KEYS[3]) ~= ARGV[2] then
  return false
end
local epoch = current_epoch()
local size, ttl_ms = ARGV[5], tonumber(ARGV[6])
local heads, messages, channels, broken = {}, {}, {}, {}

-- Returns the error that keeps a channel from taking events.
local function open(channel)
  if messages[channel] then
    return nil
  end
  local newest = redis.pcall('XREVRANGE', ARGV[3] .. channel, '+', '-', 'COUNT', 1)
  if newest.err then
    return newest.err
  end
  heads[channel] = newest[1] and newest[1][1] or ''
  messages[channel] = { epoch }
  table.insert(channels, channel)
end

-- `p` is what came before in the same channel: whoever resumes sees by it whether anything is missing.
-- Returns the error that kept it out.
local function append(channel, json)
  local history, offset = ARGV[3] .. channel, next_offset()
  local added = redis.pcall('XADD', history, 'MAXLEN', size, offset, 'p', heads[channel], 'e', json)
  if type(added) == 'table' and added.err then
    return added.err
  end
  redis.call('PEXPIREAT', history, string.format('%.0f', last_ms + ttl_ms))
  heads[channel] = offset
  table.insert(messages[channel], offset .. ' ' .. json)
end

local function each(first, last, take)
  for n = first, last do
    local problem = take(ARGV[n])
    if problem then
      return problem
    end
  end
end

redis.call('DEL', KEYS[4])
local published, refused, held, at = {}, {}, {}, 7
while at <= #ARGV do
  local id, json, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local first, last = at + 3, at + 2 + count
  local known = redis.call('SISMEMBER', KEYS[5], id) == 1
  local waits = not known and each(first, last, function(channel) return broken[channel] end)
  -- All channels are looked at before any takes it.
  local problem = not known and not waits
    and (each(first, last, open) or each(first, last, function(channel) return append(channel, json) end))
  if waits then
    table.insert(held, id)
  elseif problem then
    table.insert(refused, id)
    table.insert(refused, problem)
  else
    if not known then
      table.insert(published, id)
    end
    redis.call('SADD', KEYS[4], id)
  end
  if waits or problem then
    each(first, last, function(channel) broken[channel] = true end)
  end
  at = last + 1
end
for _, channel in ipairs(channels) do
  if #messages[channel] > 1 then
    redis.call('SPUBLISH', ARGV[4] .. channel, table.concat(messages[channel], '\n'))
  end
end
keep_last_offset()
return { published, refused, held }
