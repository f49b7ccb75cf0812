-- Replace the claim, which voids every publish that is still running.
-- KEYS[3], [4], [5] as in publish.lua. ARGV[2]: the new claim, [3]: seconds to remember ids for.
-- The previous holder may have published events without deleting them from the outbox. They will be
-- published again, so their ids are remembered.
redis.call('SUNIONSTORE', KEYS[5], KEYS[5], KEYS[4])
redis.call('EXPIRE', KEYS[5], ARGV[3])
redis.call('DEL', KEYS[4])
redis.call('SET', KEYS[3], ARGV[2])
return current_epoch()
