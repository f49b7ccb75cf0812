-- Read a history. KEYS[3]: the history. ARGV[2]: the offset to read after, or empty; [3]: the maximum
-- of entries. Return the epoch, the current offset, whether the history exists, and the entries.
local epoch, now, entries = current_epoch(), next_offset(), {}
keep_last_offset()
if ARGV[2] ~= '' then
  entries = redis.call('XRANGE', KEYS[3], '(' .. ARGV[2], '+', 'COUNT', ARGV[3])
end
return { epoch, now, redis.call('EXISTS', KEYS[3]), entries }
