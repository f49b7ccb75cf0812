-- KEYS[3]: a history. ARGV[2]: the offset to read after, or nothing; [3]: how many entries.
-- Returns the epoch, the offset of this moment, whether there is a history, and the entries.
local epoch, now, entries = current_epoch(), next_offset(), {}
keep_last_offset()
if ARGV[2] ~= '' then
  entries = redis.call('XRANGE', KEYS[3], '(' .. ARGV[2], '+', 'COUNT', ARGV[3])
end
return { epoch, now, redis.call('EXISTS', KEYS[3]), entries }
