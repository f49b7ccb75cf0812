-- ARGV[2]: the channel of heartbeats. Whoever hears one has heard all that was said before it.
local beat = current_epoch() .. ' ' .. next_offset()
keep_last_offset()
return redis.call('SPUBLISH', ARGV[2], beat)
