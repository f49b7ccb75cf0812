-- Publish a heartbeat. ARGV[2]: its channel. Redis delivers all earlier messages before it.
local beat = current_epoch() .. ' ' .. next_offset()
keep_last_offset()
return redis.call('SPUBLISH', ARGV[2], beat)
