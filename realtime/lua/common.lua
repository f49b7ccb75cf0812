-- The beginning of every script. KEYS[1]: the epoch, KEYS[2]: the last offset that was assigned;
-- ARGV[1]: the name of a new epoch, if one begins.

-- An epoch ends with the Redis process: after a restart, the last events may be lost.
local function current_epoch()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local epoch = redis.call('HMGET', KEYS[1], 'name', 'run_id')
  if epoch[2] == run_id then
    return epoch[1]
  end
  redis.call('HSET', KEYS[1], 'name', ARGV[1], 'run_id', run_id)
  return ARGV[1]
end

-- Offsets are `<milliseconds>-<number>`, as ids of stream entries are. They grow over all channels of
-- the shard, also when the clock steps back: a position is one moment for all channels.
local last_ms, last_number = string.match(redis.call('GET', KEYS[2]) or '0-0', '(%d+)-(%d+)')
last_ms, last_number = tonumber(last_ms), tonumber(last_number)

local function next_offset()
  local now = redis.call('TIME')
  local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
  if now_ms > last_ms then
    last_ms, last_number = now_ms, 0
  else
    last_number = last_number + 1
  end
  return string.format('%.0f-%.0f', last_ms, last_number)
end

local function keep_last_offset()
  redis.call('SET', KEYS[2], string.format('%.0f-%.0f', last_ms, last_number))
end
