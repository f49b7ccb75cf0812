-- Append a batch of events to the histories of their channels, and publish it.
-- KEYS[3]: the claim, KEYS[4]: ids of this batch, KEYS[5]: ids that may be published again.
-- ARGV[2]: the caller's claim, [3]: prefix of histories, [4]: prefix of channels, [5]: length of a
-- history in events, [6]: its lifetime in milliseconds; then for each event its outbox id, its JSON,
-- the number of its channels, and the channels. Each channel gets one message: the epoch, and a line
-- per event. An event that Redis refuses is left out, with all later events of the same channels.
-- Return the ids of published events; of refused ones, each followed by its error; and of those that
-- wait behind them. Return nil if the claim is void.
if redis.call('GET', KEYS[3]) ~= ARGV[2] then
  return false
end
local epoch = current_epoch()
local size, ttl_ms = ARGV[5], tonumber(ARGV[6])
local heads, messages, channels, broken = {}, {}, {}, {}

-- Prepare a channel. Return the error if its history accepts no events.
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

-- Append an event to a history. Its field `p` is the offset of the entry before it in the channel, by
-- which a reader that resumes detects missing entries. Return the error if Redis refused it.
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
  -- All channels are prepared before the event is appended to any of them.
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
