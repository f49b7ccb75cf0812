-- KEYS[3]: the claim, KEYS[4]: ids of this batch, KEYS[5]: ids that may come again.
-- ARGV[2]: the caller's claim, [3]: prefix of histories, [4]: prefix of channels, [5]: events that a
-- history keeps, [6]: milliseconds that it is kept; then for each event its outbox id, its JSON, the
-- number of its channels, and they. One message per channel: the epoch, and a line for each event.
-- Returns the ids of those that were published now, nil when the claim is void.
if redis.call('GET', KEYS[3]) ~= ARGV[2] then
  return false
end
local epoch = current_epoch()
local size, ttl_ms = ARGV[5], tonumber(ARGV[6])
local heads, messages, channels = {}, {}, {}

-- `p` is what came before in the same channel: whoever resumes sees by it whether anything is missing.
local function append(channel, json)
  local history = ARGV[3] .. channel
  if not messages[channel] then
    local newest = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)
    heads[channel] = newest[1] and newest[1][1] or ''
    messages[channel] = { epoch }
    table.insert(channels, channel)
  end
  local offset = next_offset()
  redis.call('XADD', history, 'MAXLEN', size, offset, 'p', heads[channel], 'e', json)
  redis.call('PEXPIREAT', history, string.format('%.0f', last_ms + ttl_ms))
  heads[channel] = offset
  table.insert(messages[channel], offset .. ' ' .. json)
end

redis.call('DEL', KEYS[4])
local published, at = {}, 7
while at <= #ARGV do
  local id, json, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if redis.call('SISMEMBER', KEYS[5], id) == 0 then
    for n = at + 3, at + 2 + count do
      append(ARGV[n], json)
    end
    table.insert(published, id)
  end
  redis.call('SADD', KEYS[4], id)
  at = at + 3 + count
end
for _, channel in ipairs(channels) do
  redis.call('SPUBLISH', ARGV[4] .. channel, table.concat(messages[channel], '\n'))
end
keep_last_offset()
return published
